# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run the tests in environments that differ in Python and torch.

    make lanes                      # all of LANES
    make lanes LANES="floor"        # some
    python requirements/lanes.py floor --core    # its core tests, no record

Each lane has an environment of its own in ``.lanes`` (``LANES_HOME`` names
another folder), which is kept until a requirement changes. What a whole run
found is written to ``lanes.json``, from which ``tested_with.py`` makes the
tables of README and docs.
"""

import argparse
import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RECORD = HERE / 'lanes.json'
# What a user's model and data go through. The others train toy runs with the
# tools, which takes longer and shows nothing more of torch.
CORE = (
    'tests/test_checkpoint',
    'tests/test_config',
    'tests/test_models',
    'tests/test_datasets',
    'tests/test_engine',
    'tests/test_apis',
    'tests/test_utils',
    'tests/test_evaluation',
)
# All but the pages', as `make test` installs them.
EXTRAS = 'dev,seg,det,export,hub,demo'
# They compare the record and the pages with each other, and a lane's run is
# about to change both.
OWN_TESTS = 'tests/test_package/test_tested_with.py'
# Shown in the tables.
PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmpretrain',
    'onedl-mmsegmentation',
    'onedl-mmdetection',
)
VERSIONS = """
import json, platform, sys
from importlib.metadata import version
found = {name: version(name) for name in sys.argv[1:]}
print(json.dumps(dict(python=platform.python_version(), packages=found)))
"""


@dataclass(frozen=True)
class Lane:
    """One environment that the tests run in.

    Args:
        name: Also the name of its folder.
        python: Such as ``'3.11'``.
        floor: With the lowest torch and torchvision that ``setup.cfg``
            allows, instead of those in ``tested.txt``.
        operators: With mmcv's compiled operators, which mmdet needs.
    """

    name: str
    python: str
    floor: bool = False
    operators: bool = False


LANES = (
    Lane('floor', '3.10', floor=True),
    Lane('recommended', '3.11', operators=True),
    Lane('python-3.12', '3.12'),
    Lane('python-3.13', '3.13'),
)


def floors() -> dict[str, str]:
    """The lowest torch and torchvision of ``setup.cfg``, as releases."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    found = re.findall(
        r'^(torch|torchvision)>=([\d.]+),',
        setup['options']['install_requires'],
        re.MULTILINE,
    )
    return {
        name: '.'.join([*version.split('.'), '0', '0'][:3])
        for name, version in found
    }


def lane_pins(lane: Lane) -> list[str]:
    """The lines of a lane's constraints."""
    lines = (HERE / 'tested.txt').read_text().splitlines()
    if not lane.floor:
        return lines + (HERE / 'tested_cuda.txt').read_text().splitlines()
    lowest = floors()
    kept = [line for line in lines if line.split('==')[0] not in lowest]
    return kept + [f'{name}=={version}' for name, version in lowest.items()]


def tested_torches() -> set[str]:
    """Major and minor version of torch in every lane, such as ``2.14``."""
    return {
        '.'.join(line.split('==')[1].split('.')[:2])
        for lane in LANES
        for line in lane_pins(lane)
        if line.startswith('torch==')
    }


def find_python(version: str) -> str | None:
    """Path of an interpreter of a version (``'3.11'``), if there is one."""
    for path in _interpreters(version):
        code = 'import sys; print("%d.%d" % sys.version_info[:2])'
        # pyenv's shims exist for versions that are not switched on.
        result = subprocess.run([path, '-c', code], capture_output=True)
        if result.stdout.decode().strip() == version:
            return path
    return None


def _interpreters(version: str) -> Iterator[str]:
    yield getattr(sys, '_base_executable', sys.executable)
    for name in (f'python{version}', 'python3'):
        path = shutil.which(name)
        if path:
            yield path
    pyenv = Path(os.environ.get('PYENV_ROOT') or Path.home() / '.pyenv')
    for path in sorted(pyenv.glob(f'versions/{version}.*/bin/python')):
        yield str(path)


class Environment:
    """The environment of a lane.

    Args:
        lane: Which one.
        home: The folder with the environments of all lanes.
    """

    def __init__(self, lane: Lane, home: Path) -> None:
        self.lane = lane
        self.folder = home / lane.name
        self.python = str(self.folder / 'bin' / 'python')
        # Tools that tests start (torchrun) are this environment's, and what
        # is on the path of the caller is not imported.
        path = os.environ.get('PATH', os.defpath)
        self.environ = {
            **os.environ,
            'PATH': os.pathsep.join([str(self.folder / 'bin'), path]),
            'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'),
        }
        self.environ.pop('PYTHONPATH', None)

    def run(self, *command: str) -> int:
        """Run the environment's Python in the repository."""
        return subprocess.run(
            [self.python, *command], cwd=ROOT, env=self.environ
        ).returncode

    def provide(self, interpreter: str) -> None:
        """Make the environment, unless it is there as it should be."""
        stamp = self.folder / '.installed'
        wanted = self._digest(interpreter)
        if not (stamp.is_file() and stamp.read_text() == wanted):
            shutil.rmtree(self.folder, ignore_errors=True)
            subprocess.run(
                [interpreter, '-m', 'venv', str(self.folder)], check=True
            )
            self._install()
            stamp.write_text(wanted)
        else:
            # Another clone may have made it: mmcae is the one of this clone.
            pip = ['-m', 'pip', '--disable-pip-version-check', 'install']
            self._check(
                *pip, '-q', '--no-deps', '--no-build-isolation', '-e', '.'
            )
        if self.lane.operators:
            self._check('tools/build_mmcv_ops.py')

    def _install(self) -> None:
        path = self.folder / 'constraints.txt'
        path.write_text('\n'.join(lane_pins(self.lane)) + '\n')
        constraints = str(path)
        pip = ['-m', 'pip', '--disable-pip-version-check', 'install', '-q']
        pip += [*os.environ.get('PIP_FLAGS', '').split(), '-c', constraints]
        self._check(*pip, '-r', 'requirements/build.txt')
        pip += ['--build-constraint', constraints]
        # torch first: the others pick the version they find.
        self._check(*pip, 'torch', 'torchvision', 'numpy')
        self._check(*pip, '-e', f'.[{EXTRAS}]')
        free = floors() if self.lane.floor else ()
        self._check('requirements/pins.py', '--check', '--free', *free)

    def _check(self, *command: str) -> None:
        if self.run(*command):
            sys.exit(f'lane {self.lane.name}: this failed: {command}')

    def _digest(self, interpreter: str) -> str:
        files = [HERE / 'build.txt', ROOT / 'setup.cfg', ROOT / 'setup.py']
        parts = [interpreter, *lane_pins(self.lane)]
        parts += [path.read_text() for path in files]
        return hashlib.sha256('\n'.join(parts).encode()).hexdigest()

    def versions(self) -> dict:
        """``python``, and ``packages`` by name."""
        output = subprocess.check_output(
            [self.python, '-c', VERSIONS, *PACKAGES], text=True
        )
        return json.loads(output)


def count_tests(report: Path) -> dict[str, int]:
    """Numbers of pytest's XML report: passed, skipped and failed tests."""
    total = dict(passed=0, skipped=0, failed=0)
    for suite in ET.parse(report).getroot().iter('testsuite'):
        number = {
            key: int(suite.get(key, 0))
            for key in ('tests', 'skipped', 'failures', 'errors')
        }
        failed = number['failures'] + number['errors']
        total['failed'] += failed
        total['skipped'] += number['skipped']
        total['passed'] += number['tests'] - number['skipped'] - failed
    return total


def run_lane(lane: Lane, home: Path, core: bool) -> dict:
    """Make the lane's environment and run the tests in it.

    Args:
        lane: Which one.
        home: The folder with the environments.
        core: Only the tests of `CORE`.

    Returns:
        The lane's record; with ``problem`` instead of numbers if there is no
        interpreter.
    """
    interpreter = find_python(lane.python)
    if interpreter is None:
        return dict(problem=f'no Python {lane.python} on this machine')
    environment = Environment(lane, home)
    environment.provide(interpreter)
    commit = _commit()
    report = environment.folder / 'report.xml'
    report.unlink(missing_ok=True)
    environment.run(
        '-m',
        'pytest',
        '-q',
        '-p',
        'no:cacheprovider',
        f'--ignore={OWN_TESTS}',
        f'--junitxml={report}',
        *(CORE if core else ()),
    )
    if not report.is_file():
        return dict(problem='pytest ended without a report')
    return dict(
        environment.versions(),
        operators=lane.operators,
        tests=count_tests(report),
        date=time.strftime('%Y-%m-%d'),
        commit=commit,
    )


def _commit() -> str:
    """The commit, and whether what is tested differs from it."""
    git = ['git', '-C', str(ROOT)]
    head, changes = (
        subprocess.run([*git, *command], capture_output=True, text=True).stdout
        for command in (
            ['rev-parse', '--short=7', 'HEAD'],
            ['status', '--porcelain', 'mmcae', 'configs', 'tools', 'tests'],
        )
    )
    return (head.strip() or 'unknown') + ('-dirty' if changes else '')


def main() -> None:
    """Command line."""
    names = [lane.name for lane in LANES]
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('lanes', nargs='*', metavar='LANE', help=str(names))
    parser.add_argument(
        '--core', action='store_true', help='core tests only, no record'
    )
    args = parser.parse_args()
    unknown = sorted(set(args.lanes) - set(names))
    if unknown:
        parser.error(f'no lane {", ".join(unknown)}; there are {names}')
    home = Path(os.environ.get('LANES_HOME') or ROOT / '.lanes').resolve()
    bad = []
    for lane in LANES:
        if args.lanes and lane.name not in args.lanes:
            continue
        print(f'== lane {lane.name}', flush=True)
        found = run_lane(lane, home, args.core)
        print(f'== lane {lane.name}: {found.get("tests", found)}', flush=True)
        if found.get('tests', {'failed': 1})['failed']:
            bad.append(lane.name)
        if not args.core and 'tests' in found:
            record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
            record[lane.name] = found
            RECORD.write_text(json.dumps(record, indent=1) + '\n')
    if bad:
        sys.exit(f'lanes that did not pass: {", ".join(bad)}')


if __name__ == '__main__':
    main()
