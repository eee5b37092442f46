# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Collect wheels for a machine without a network: ``make wheelhouse``.

    make wheelhouse PYTHON_VERSION=3.12 DIR=wheels
    python requirements/wheelhouse.py wheels --python 3.12 --without timm

On that machine, in an environment that has PyTorch, OpenCV and SciPy:

    cd wheels && pip install --no-index -f . --no-deps -r requirements.txt

The wheels are those of mmcae, of timm (which ``benchmarks/`` compares with)
and of everything that these require, except what an image for deep learning
has (see `IMAGE`). Versions are those of ``tested.txt``. A package that the
index has only as source is built here, which works for another Python as long
as it has no compiled code. mmcv is built without its operators: CAE calls
none of them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename
from pins import TESTED, is_cuda, normalize, read_pins

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ('mmcae', 'timm')
REQUIRED_BY_TORCH = (
    *('filelock', 'fsspec', 'jinja2', 'markupsafe', 'mpmath', 'networkx'),
    *('setuptools', 'sympy', 'typing-extensions'),
)
# What an image for deep learning has, and why we think so. The two largest
# wheels are here because they alone are more than `LIMIT_MB`.
IMAGE = {
    'torch': 'the image is made for it',
    'torchvision': 'comes with torch, and must fit its build',
    'numpy': 'comes with torchvision',
    'pillow': 'comes with torchvision',
    **dict.fromkeys(REQUIRED_BY_TORCH, 'torch requires it'),
    'opencv-python': 'most have it, or opencv-python-headless (54 MB)',
    'scipy': 'most have it (35 MB)',
}
# mmcae's wheel is built from a copy of these alone: a clone may hold anything.
SOURCES = (
    *('mmcae', 'configs', 'tools', 'demo', 'model-index.yml', 'setup.py'),
    *('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'),
)
LIMIT_MB = 60
# Wheels of PyTorch ask for this glibc too, or for a newer one.
NEWEST_GLIBC = 28
HEADER = '# Written by requirements/wheelhouse.py'


@dataclass(frozen=True)
class Target:
    """The machine that the wheels are for, which runs Linux.

    Args:
        python: Such as ``'3.12'``.
        machine: Such as ``'x86_64'``.
    """

    python: str
    machine: str

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor version of Python."""
        major, minor = self.python.split('.')
        return int(major), int(minor)

    def markers(self) -> dict[str, str]:
        """Values of the markers that a requirement may have."""
        return dict(
            python_version=self.python,
            python_full_version=f'{self.python}.0',
            implementation_name='cpython',
            platform_python_implementation='CPython',
            os_name='posix',
            sys_platform='linux',
            platform_system='Linux',
            platform_machine=self.machine,
            extra='',
        )

    def pip_options(self) -> list[str]:
        """Options of ``pip download`` that choose this machine's wheels."""
        options = ['--only-binary=:all:', '--implementation', 'cp']
        options += ['--python-version', self.python]
        for minor in range(NEWEST_GLIBC, 4, -1):
            options += ['--platform', f'manylinux_2_{minor}_{self.machine}']
        for name in ('manylinux2014', 'manylinux2010', 'manylinux1'):
            options += ['--platform', f'{name}_{self.machine}']
        return options

    def runs(self, wheel: Path) -> bool:
        """Whether a wheel that was built here works there."""
        tags = parse_wheel_filename(wheel.name)[3]
        pure = all((t.abi, t.platform) == ('none', 'any') for t in tags)
        return pure or self.numbers == sys.version_info[:2]


def requirements_of(wheel: Path, target: Target) -> list[Requirement]:
    """What a wheel requires on the target machine, without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        path = next(
            name
            for name in archive.namelist()
            if name.endswith('.dist-info/METADATA') and name.count('/') == 1
        )
        metadata = Parser().parsestr(archive.read(path).decode())
    found = map(Requirement, metadata.get_all('Requires-Dist') or ())
    return [
        requirement
        for requirement in found
        if requirement.marker is None
        or requirement.marker.evaluate(target.markers())
    ]


def collect(
    wanted: Iterable[Requirement],
    fetch: Callable[[Requirement], Path],
    target: Target,
    left_out: Collection[str],
) -> dict[str, Path]:
    """Fetch packages, what these require, and what that requires in turn.

    Args:
        wanted: The packages to begin with.
        fetch: Downloads or builds the wheel for a requirement.
        target: Where the wheels will be installed.
        left_out: Names of packages that are not fetched, nor what only they
            require.

    Returns:
        Every wheel by the name of its package.
    """
    found: dict[str, Path] = {}
    queue = list(wanted)
    while queue:
        requirement = queue.pop(0)
        name = normalize(requirement.name)
        if name in found or name in left_out or is_cuda(name):
            continue
        found[name] = fetch(requirement)
        queue += requirements_of(found[name], target)
    return found


class Fetcher:
    """Downloads wheels into a folder, and builds those that do not exist.

    Args:
        folder: Where the wheels go.
        target: Where they will be installed.
        pins: Versions by normalized name.
    """

    def __init__(
        self, folder: Path, target: Target, pins: Mapping[str, str]
    ) -> None:
        self.folder, self.target, self.pins = folder, target, pins

    def __call__(self, requirement: Requirement) -> Path:
        """Download or build the wheel for a requirement."""
        name = normalize(requirement.name)
        wanted = f'{name}{requirement.specifier}'
        if name in self.pins:
            wanted = f'{name}=={self.pins[name]}'
        print(f'  {wanted}', flush=True)
        if name == 'mmcae':
            return self._build_mmcae()
        download = ['download', *self.target.pip_options()]
        return self._pip(*download, wanted) or self._build(wanted)

    def _build_mmcae(self) -> Path:
        """Build mmcae's own wheel from a copy of its sources.

        The copy keeps files of an earlier build out of the wheel.
        """
        ignored = shutil.ignore_patterns('__pycache__', '*.pyc', '.mim')
        with tempfile.TemporaryDirectory() as folder:
            for name in SOURCES:
                source, copy = ROOT / name, Path(folder, name)
                if source.is_dir():
                    shutil.copytree(source, copy, ignore=ignored)
                else:
                    shutil.copy2(source, copy)
            return self._build(folder)

    def _build(self, source: str) -> Path:
        """Build a wheel from a source distribution or a folder.

        Raises:
            SystemExit: If pip fails, or if the wheel would not work on the
                target machine.
        """
        # A wheel in pip's cache may be one with compiled operators.
        options = ['--no-cache-dir', '--build-constraint', str(TESTED)]
        wheel = self._pip('wheel', *options, source, show_errors=True)
        if wheel is None:
            sys.exit(f'pip could not build {source}, see above')
        if not self.target.runs(wheel):
            sys.exit(
                f'{source} has compiled code and no wheel for Python '
                f'{self.target.python}: run this script with that Python'
            )
        return wheel

    def _pip(
        self, command: str, *options: str, show_errors: bool = False
    ) -> Path | None:
        """Run pip; returns the new wheel, ``None`` if pip failed."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            where = '-d' if command == 'download' else '-w'
            line = [sys.executable, '-m', 'pip', command, '-q', '--no-deps']
            line += os.environ.get('PIP_FLAGS', '').split()
            result = subprocess.run(
                [*line, where, folder, *options],
                env={**os.environ, 'MMCV_WITH_OPS': '0'},
                stdout=subprocess.DEVNULL,
                stderr=None if show_errors else subprocess.DEVNULL,
            )
            wheels = list(Path(folder).glob('*.whl'))
            if result.returncode or not wheels:
                return None
            return wheels[0].replace(self.folder / wheels[0].name)


def empty(folder: Path) -> None:
    """Make a folder, or remove the wheels that an earlier run left in it.

    Raises:
        SystemExit: If the folder holds wheels of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheels = list(folder.glob('*.whl'))
    listed = folder / 'requirements.txt'
    ours = listed.is_file() and listed.read_text().startswith(HEADER)
    if wheels and not ours:
        sys.exit(f'{folder} holds wheels already: name an empty folder')
    for path in [*wheels, *([listed] if ours else [])]:
        path.unlink()


def write_requirements(folder: Path, wheels: Mapping[str, Path]) -> None:
    """List the wheels' names and versions in ``requirements.txt``."""
    lines = [
        f'{name}=={parse_wheel_filename(wheel.name)[1]}'
        for name, wheel in sorted(wheels.items())
    ]
    text = '\n'.join([HEADER, *lines]) + '\n'
    (folder / 'requirements.txt').write_text(text)


def describe(wheels: Mapping[str, Path]) -> tuple[str, float]:
    """A table of the wheels, the largest first, and their megabytes."""
    sizes = {name: wheel.stat().st_size for name, wheel in wheels.items()}
    rows = ['| package | version | MB |', '|---|---|---|']
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        version = parse_wheel_filename(wheels[name].name)[1]
        rows.append(f'| {name} | {version} | {sizes[name] / 1e6:.2f} |')
    total = sum(sizes.values()) / 1e6
    rows.append(f'| {len(sizes)} wheels | | {total:.2f} |')
    return '\n'.join(rows), total


def python_version(text: str) -> str:
    """Check the value of ``--python``."""
    if not re.fullmatch(r'3\.\d+', text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is no version such as 3.12'
        )
    return text


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', type=Path, help='where the wheels go')
    parser.add_argument(
        '--python',
        type=python_version,
        default='.'.join(map(str, sys.version_info[:2])),
        help="the other machine's Python (default: this one's, %(default)s)",
    )
    parser.add_argument(
        '--machine',
        default='x86_64',
        help="the other machine's processor (default: %(default)s)",
    )
    parser.add_argument(
        '--with',
        nargs='+',
        default=[],
        dest='added',
        metavar='NAME',
        help='packages to collect that the image does not have, such as '
        'scipy or opencv-python-headless',
    )
    parser.add_argument(
        '--without',
        nargs='+',
        default=[],
        dest='left_out',
        metavar='NAME',
        help='packages that the image has, such as timm or matplotlib',
    )
    parser.add_argument(
        '--limit',
        type=float,
        default=LIMIT_MB,
        help='fail if the wheels have more megabytes (default: %(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    """Collect, list and weigh the wheels."""
    args = parse_args()
    target = Target(args.python, args.machine)
    added = [normalize(name) for name in args.added]
    left_out = (set(IMAGE) - set(added)) | set(map(normalize, args.left_out))
    empty(args.folder)
    fetcher = Fetcher(args.folder, target, read_pins(python=target.numbers))
    print(f'Collecting for Python {target.python}', flush=True)
    wanted = map(Requirement, (*ROOTS, *added))
    wheels = collect(wanted, fetcher, target, left_out)
    write_requirements(args.folder, wheels)
    table, total = describe(wheels)
    print(table)
    print('Left out: ' + ', '.join(sorted(left_out)))
    if total > args.limit:
        sys.exit(
            f'{total:.1f} MB are more than {args.limit:.0f}: leave out with '
            '--without what the image has, or raise --limit'
        )


if __name__ == '__main__':
    main()
