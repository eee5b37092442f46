# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pin every package of an environment: ``make pins`` and ``make lint``.

    python requirements/pins.py             # resolve anew, write the pins
    python requirements/pins.py --keep      # add what is new, keep the others
    python requirements/pins.py --check     # is this environment pinned?

pip resolves ``tested.in``, the package with all its extras and what builds
it, once with each Python that has a lane (see ``lanes.py``), in a fresh
environment and without installing. The answers are merged: a package whose
version differs between Pythons gets a line for each, with a marker.

They are constraints (``pip install -c``). What torch's wheels for Linux bring
for CUDA stands in a file of its own, because a build of torch for another
CUDA asks for other versions of it; one for the CPU asks for none.
"""

import argparse
import json
import operator
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from lanes import EXTRAS, LANES, find_python

HERE = Path(__file__).resolve().parent
TESTED, CUDA = HERE / 'tested.txt', HERE / 'tested_cuda.txt'
HEADERS = {
    TESTED: """\
# Every package of the environment that the tests run in, made by `make pins`
# from tested.in, setup.cfg and build.txt with Python {pythons} on
# Linux x86-64. `make` installs exactly these; in an environment of your own
#     pip install -c requirements/tested.txt -e '.[seg,det]'
# does. They fit torch's builds for the CPU and for every CUDA.
""",
    CUDA: """\
# What PyPI's torch for Linux brings for CUDA, made by `make pins`. `make`
# installs these too; leave the file out for a build of torch for another CUDA.
""",
}


def normalize(name: str) -> str:
    """A package's name in the one spelling that pip compares."""
    return re.sub(r'[-_.]+', '-', name).lower()


def is_cuda(name: str) -> bool:
    """Whether only torch's build for CUDA asks for a package."""
    return name == 'triton' or name.startswith(('nvidia-', 'cuda-'))


def resolve(python: str, kept: Iterable[str] = ()) -> dict[str, str]:
    """Ask pip what it would install.

    Args:
        python: Path of an interpreter.
        kept: Lines of pins that hold.

    Returns:
        The version of each package by normalized name, without mmcae.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, '-m', 'venv', folder], check=True)
        pip = [f'{folder}/bin/python', '-m', 'pip', 'install', '-q']
        # An older pip may not know the newest wheels' tags.
        subprocess.run([*pip, '-U', 'pip'], check=True)
        report = Path(folder, 'report.json')
        constraints = Path(folder, 'kept.txt')
        constraints.write_text('\n'.join(kept))
        command = [*pip, '--dry-run', '--ignore-installed', 'pip']
        command += ['-c', str(constraints)]
        command += ['--report', str(report), '-r', 'requirements/build.txt']
        command += ['-r', 'requirements/tested.in', f'.[{EXTRAS},docs]']
        subprocess.run(command, check=True, cwd=HERE.parent)
        found = json.loads(report.read_text())['install']
    versions = {
        normalize(item['metadata']['name']): item['metadata']['version']
        for item in found
    }
    # A local build, `2.14.1+cpu`, answers for the release.
    return {
        name: version.split('+')[0]
        for name, version in sorted(versions.items())
        if name != 'mmcae'
    }


def merge(versions: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """One set of pins for several Pythons.

    Args:
        versions: By Python (``'3.10'``), the version of each package.

    Returns:
        By package, its lines: one without a marker if the version is the same
        wherever the package is needed, else one for each version.
    """
    lines: dict[str, list[str]] = {}
    for name in sorted(
        {name for found in versions.values() for name in found}
    ):
        pythons: dict[str, list[str]] = {}
        for python, found in versions.items():
            if name in found:
                pythons.setdefault(found[name], []).append(python)
        several = len(pythons) > 1
        lines[name] = [
            f'{name}=={version}'
            + (_marker(own, list(versions)) if several else '')
            for version, own in pythons.items()
        ]
    return lines


def _marker(own: list[str], pythons: list[str]) -> str:
    if own == pythons[: len(own)]:
        return f'; python_version < "{pythons[len(own)]}"'
    if own == pythons[-len(own) :]:
        return f'; python_version >= "{own[0]}"'
    conditions = [f'python_version == "{python}"' for python in own]
    return '; ' + ' or '.join(conditions)


def read_pins(
    paths: Iterable[Path] = (TESTED, CUDA),
    python: tuple[int, int] = sys.version_info[:2],
) -> dict[str, str]:
    """The pinned version of each package.

    Args:
        paths: Files that `write` has made.
        python: For which Python; default: this one.
    """
    pins = {}
    for path in paths:
        for line in path.read_text().splitlines():
            pin, _, marker = line.split('#')[0].partition(';')
            if pin and _applies(marker, python):
                name, version = pin.strip().split('==')
                pins[name] = version
    return pins


def _applies(marker: str, python: tuple[int, int]) -> bool:
    # By hand, because lanes are run by a Python without any package.
    compare = {'==': operator.eq, '>=': operator.ge, '<': operator.lt}
    conditions = re.findall(r'python_version (==|>=|<) "3\.(\d+)"', marker)
    return not conditions or any(
        compare[sign](python, (3, int(minor))) for sign, minor in conditions
    )


def find_unpinned(
    installed: Mapping[str, str],
    pins: Mapping[str, str],
    free: Iterable[str] = (),
) -> list[str]:
    """One line for each package that is not what the pins say.

    Args:
        installed: Version by normalized name.
        pins: See `read_pins`.
        free: Packages that may have any version.
    """
    problems = []
    for name, version in sorted(installed.items()):
        if (
            name == 'mmcae'
            or name in free
            or (is_cuda(name) and 'torch' in free)
        ):
            continue
        if name not in pins:
            problems.append(f'{name}=={version} is not pinned')
        elif version.split('+')[0] != pins[name]:
            problems.append(f'{name}=={version}, pinned is {pins[name]}')
    return problems


def check(free: Iterable[str]) -> None:
    """End the process with a message unless this environment is pinned."""
    installed = {
        normalize(found.metadata['Name']): found.version
        for found in metadata.distributions()
    }
    problems = find_unpinned(installed, read_pins(), free)
    if problems:
        sys.exit(
            f'{sys.prefix} is not the environment of requirements/tested.txt '
            '(a new dependency? run `make pins`; an old environment? remove '
            'it):\n  ' + '\n  '.join(problems)
        )
    print(f'{len(installed)} packages, all pinned')


def kept_lines(free: Iterable[str]) -> list[str]:
    """The pins of both files, except those of the packages in ``free``."""
    lines = (line for path in HEADERS for line in path.read_text().split('\n'))
    names = {normalize(name) for name in free}
    return [
        line
        for line in lines
        if line and line[0] != '#' and line.split('==')[0] not in names
    ]


def write(pythons: Iterable[str], kept: Iterable[str] = ()) -> None:
    """Resolve for each Python and write both files.

    Args:
        pythons: Such as ``'3.10'``.
        kept: Lines of pins that hold.
    """
    versions = {}
    kept = list(kept)
    for python in pythons:
        path = find_python(python)
        if path is None:
            sys.exit(f"no Python {python} found: pins need every lane's")
        print(f'Python {python}: resolving', flush=True)
        versions[python] = resolve(path, kept)
    lines = merge(versions)
    for path, header in HEADERS.items():
        body = [
            line
            for name, own in lines.items()
            if is_cuda(name) == (path == CUDA)
            for line in own
        ]
        text = header.format(pythons=', '.join(versions))
        path.write_text(text + '\n'.join(body) + '\n')
        print(f'wrote {len(body)} pins to {path.name}')


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--check', action='store_true')
    parser.add_argument(
        '--keep',
        action='store_true',
        help='keep the versions that are pinned now, for a new dependency',
    )
    parser.add_argument(
        '--free',
        nargs='*',
        default=[],
        help='packages that may have any version; --check with torch frees '
        'CUDA, too',
    )
    args = parser.parse_args()
    if args.check:
        check(args.free)
    else:
        pythons = sorted({lane.python for lane in LANES}, key=_numbers)
        write(pythons, kept_lines(args.free) if args.keep else ())


def _numbers(python: str) -> list[int]:
    return [int(part) for part in python.split('.')]


if __name__ == '__main__':
    main()
