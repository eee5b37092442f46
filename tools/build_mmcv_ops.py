# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Give this environment an mmcv whose operators are compiled.

PyPI carries mmcv as source, and pip installs it without its C++ operators;
mmdet cannot be imported then. ``make test`` calls this script. It compiles
the operators once for each version of torch and keeps the wheel in
``~/.cache/mmcae/wheels`` (``XDG_CACHE_HOME`` is respected). Whether they work
is never concluded from a file: a fresh process calls them each time.

torch's headers need C++20 since 2.14 and mmcv asks for C++17, so the compiler
is called through a script that changes the flag.

The operators are compiled for the CPU, with any gcc or clang and without a
CUDA toolkit; ``FORCE_CUDA=1`` compiles them for the GPU too. ``MAX_JOBS``
limits the compilers that run at once. Arguments are passed on to pip.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

NAME = 'onedl-mmcv'
# The first torch whose headers do not compile as C++17.
NEEDS_CXX20 = (2, 14)
# mmcv's flag comes after those of CXXFLAGS, so it has to be replaced. A loop
# over "$@" keeps arguments with blanks in one piece.
COMPILER = """#!/bin/sh
for argument do
    shift
    [ "$argument" = -std=c++17 ] && argument=-std=c++20
    set -- "$@" "$argument"
done
exec {compiler} "$@"
"""
CHECK = """
import torch
from mmcv.ops import RoIAlign, nms

# Each column holds its own number: bins around 0.5 and 2.5 have that mean.
ramp = torch.arange(8.0).expand(1, 1, 8, 8).clone().requires_grad_()
boxes = torch.tensor([[0, 0, 0, 4, 4.0]])
pooled = RoIAlign(output_size=2, sampling_ratio=2)(ramp, boxes)
expected = torch.tensor([0.5, 2.5]).expand(1, 1, 2, 2)
torch.testing.assert_close(pooled, expected)
pooled.sum().backward()
torch.testing.assert_close(ramp.grad.sum(), torch.tensor(4.0))
boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 8.0], [20, 20, 29, 29]])
kept = nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)[1]
assert kept.tolist() == [1, 2], kept
"""


def wheel_folder(
    environ: Mapping[str, str],
    mmcv: str,
    torch: str,
    python: str,
    platform: str,
) -> Path:
    """Where the wheel for these versions is kept.

    Args:
        environ: The environment variables.
        mmcv: Version of mmcv.
        torch: Version of torch with its suffix: ``2.9.1+cu128`` and
            ``2.9.1+cpu`` do not share operators.
        python: Tag of the interpreter, such as ``cpython-311``.
        platform: Such as ``linux-x86_64``.
    """
    cache = environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    device = 'cuda' if environ.get('FORCE_CUDA') == '1' else 'cpu'
    name = f'torch-{torch}_{python}_{platform}_mmcv-{mmcv}_{device}'
    return Path(cache) / 'mmcae' / 'wheels' / name


def write_compiler(folder: Path, compiler: str) -> Path:
    """Write a script that calls ``compiler`` with C++20 in place of C++17.

    Args:
        folder: Where to put it. The path must not have blanks, because
            torch's build rules do not quote it.
        compiler: What to call, such as ``c++`` or ``ccache g++``.
    """
    script = folder / 'c++'
    script.write_text(COMPILER.format(compiler=compiler))
    script.chmod(0o755)
    return script


def needs_cxx20(torch: str) -> bool:
    """Whether the headers of this version of torch need C++20."""
    release = re.match(r'(\d+)\.(\d+)', torch)
    return bool(release) and tuple(map(int, release.groups())) >= NEEDS_CXX20


def build_environment(environ: Mapping[str, str], cores: int) -> dict:
    """Environment variables for mmcv's ``setup.py``."""
    env = {'MAX_JOBS': str(cores), 'CFLAGS': '-O1 -g0', **environ}
    env['MMCV_WITH_OPS'] = '1'
    # Where pip puts ninja; without it one file is compiled at a time.
    scripts = sysconfig.get_path('scripts')
    env['PATH'] = os.pathsep.join([scripts, env.get('PATH', os.defpath)])
    if env.get('FORCE_CUDA') != '1':
        # It would look for nvcc wherever torch sees a GPU.
        env['CUDA_VISIBLE_DEVICES'] = ''
    return env


def provide(
    folder: Path,
    works: Callable[[], bool],
    install: Callable[[Path], None],
    build: Callable[[Path], Path],
) -> str:
    """Install a wheel that works, from the folder if it has one.

    Args:
        folder: See `wheel_folder`.
        works: Whether the installed operators work.
        install: Install a wheel.
        build: Make a wheel in the folder given, and return its path.

    Returns:
        What was done.

    Raises:
        RuntimeError: If the operators do not work even when just compiled.
    """
    if works():
        return 'they work already'
    for wheel in folder.glob('*.whl'):
        install(wheel)
        if works():
            return f'installed {wheel}'
        print(f'{wheel} does not work here: compiling again', flush=True)
        wheel.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        wheel = build(Path(temporary))
        install(wheel)
        if not works():
            raise RuntimeError('the operators just compiled do not work')
        # Only a whole wheel that works gets a name that is looked for.
        os.replace(wheel, folder / wheel.name)
    return f'compiled {folder / wheel.name}'


def operators_work() -> bool:
    """Call some operators in a fresh process: a bad one may crash it."""
    command = [sys.executable, '-c', CHECK]
    return subprocess.run(command, capture_output=True).returncode == 0


def pip(*arguments: str) -> list[str]:
    """Command line of pip; its cache of wheels ignores torch's version."""
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    return [*command, *arguments, '--no-cache-dir', '--no-deps']


def install_wheel(wheel: Path) -> None:
    """Replace the installed mmcv by a wheel, and nothing else."""
    subprocess.run(pip('install', '--force-reinstall', str(wheel)), check=True)


def torch_version() -> str:
    """The version of torch with its suffix, as torch itself says it."""
    command = [sys.executable, '-c', 'import torch; print(torch.__version__)']
    return subprocess.check_output(command, text=True).strip()


def compile_wheel(folder: Path) -> Path:
    """Compile mmcv from source into ``folder``, and return the wheel."""
    headers = Path(sysconfig.get_paths()['include'])
    compiler = os.environ.get('CXX') or 'c++'
    if not shutil.which(compiler.split()[0]):
        sys.exit(f'No C++ compiler {compiler!r}: install g++, or set CXX')
    if not (headers / 'Python.h').is_file():
        sys.exit(f'No Python.h in {headers}: install python3-dev')
    env = build_environment(os.environ, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix='mmcv-compiler-') as temporary:
        if needs_cxx20(torch_version()):
            env['CXX'] = str(write_compiler(Path(temporary), compiler))
        return run_build(folder, env)


def run_build(folder: Path, env: Mapping[str, str]) -> Path:
    """Call pip, with a line of progress each half minute."""
    print(
        f"Compiling mmcv's operators with MAX_JOBS={env['MAX_JOBS']}, once "
        'for this torch: 13 minutes of processor time (7 on two free cores)',
        flush=True,
    )
    command = pip('wheel', '-v', '--no-build-isolation', *sys.argv[1:])
    command += ['--no-binary', NAME, '-w', str(folder)]
    command += [f'{NAME}=={version(NAME)}']
    last, lines = time.monotonic(), []
    with subprocess.Popen(
        command,
        env=env,
        text=True,
        errors='replace',
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            step = re.match(r'\s*\[(\d+)/(\d+)\]', line)
            if step and time.monotonic() - last > 30:
                last = time.monotonic()
                print('  {} of {} files'.format(*step.groups()), flush=True)
    wheels = list(folder.glob('*.whl'))
    if process.returncode or not wheels:
        sys.exit(''.join(lines[-60:]) + '\nCompiling mmcv failed, see above')
    return wheels[0]


def main() -> None:
    """Provide the operators for this interpreter's torch."""
    folder = wheel_folder(
        os.environ,
        mmcv=version(NAME),
        torch=torch_version(),
        python=sys.implementation.cache_tag,
        platform=sysconfig.get_platform(),
    )
    result = provide(folder, operators_work, install_wheel, compile_wheel)
    print(f"mmcv's operators: {result}")


if __name__ == '__main__':
    main()
