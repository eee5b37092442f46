# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Install an mmcv with compiled operators into this environment.

PyPI has only the source of mmcv, and pip installs it without the C++
operators that mmdet needs. ``make test`` calls this script. It compiles the
operators once for each version of torch and keeps the wheel in
``~/.cache/mmcae/wheels`` (or below ``XDG_CACHE_HOME``). A wheel in the cache
may not work, so each run calls the operators in a new process.

The headers of torch 2.14 and later need C++20, but mmcv asks for C++17. The
compiler is therefore called through a script that changes the flag.

The operators are compiled for the CPU, with gcc or clang and without a CUDA
toolkit. ``FORCE_CUDA=1`` compiles them for the GPU as well, and ``MAX_JOBS``
limits the number of parallel compilers. Arguments are passed on to pip.
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
# mmcv's flag comes after those of CXXFLAGS and wins, so it has to be replaced.
# The loop over "$@" keeps arguments that contain spaces intact.
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

# Each column holds its index, so bins centered at 0.5 and 2.5 have that mean.
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
    """Return the folder of the wheel for these versions.

    Args:
        environ: The environment variables.
        mmcv: Version of mmcv.
        torch: Version of torch with its suffix: ``2.9.1+cu128`` and
            ``2.9.1+cpu`` do not share operators.
        python: Tag of the interpreter, such as ``cpython-311``.
        platform: Name of the platform, such as ``linux-x86_64``.
    """
    cache = environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    device = 'cuda' if environ.get('FORCE_CUDA') == '1' else 'cpu'
    name = f'torch-{torch}_{python}_{platform}_mmcv-{mmcv}_{device}'
    return Path(cache) / 'mmcae' / 'wheels' / name


def write_compiler(folder: Path, compiler: str) -> Path:
    """Write a script that calls ``compiler`` with C++20 in place of C++17.

    Args:
        folder: Folder of the script. Its path must not contain spaces,
            because torch's build rules do not quote it.
        compiler: The compiler to call, such as ``c++`` or ``ccache g++``.

    Returns:
        The path of the script.
    """
    script = folder / 'c++'
    script.write_text(COMPILER.format(compiler=compiler))
    script.chmod(0o755)
    return script


def needs_cxx20(torch: str) -> bool:
    """Return whether the headers of a version of torch need C++20."""
    release = re.match(r'(\d+)\.(\d+)', torch)
    return bool(release) and tuple(map(int, release.groups())) >= NEEDS_CXX20


def build_environment(environ: Mapping[str, str], cores: int) -> dict:
    """Return the environment variables for mmcv's ``setup.py``."""
    env = {'MAX_JOBS': str(cores), 'CFLAGS': '-O1 -g0', **environ}
    env['MMCV_WITH_OPS'] = '1'
    # pip installs ninja there; without ninja, one file is compiled at a time.
    scripts = sysconfig.get_path('scripts')
    env['PATH'] = os.pathsep.join([scripts, env.get('PATH', os.defpath)])
    if env.get('FORCE_CUDA') != '1':
        # Otherwise the build looks for nvcc where torch sees a GPU.
        env['CUDA_VISIBLE_DEVICES'] = ''
    return env


def provide(
    folder: Path,
    works: Callable[[], bool],
    install: Callable[[Path], None],
    build: Callable[[Path], Path],
) -> str:
    """Install a wheel that works, from the cache if possible.

    Args:
        folder: The cache, see `wheel_folder`.
        works: Returns whether the installed operators work.
        install: Installs a wheel.
        build: Builds a wheel in a folder, and returns its path.

    Returns:
        A sentence that says what was done.

    Raises:
        RuntimeError: If the newly compiled operators do not work.
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
            raise RuntimeError('the newly compiled operators do not work')
        # The cache gets only complete wheels that work.
        os.replace(wheel, folder / wheel.name)
    return f'compiled {folder / wheel.name}'


def operators_work() -> bool:
    """Call some operators in a new process, which they may crash."""
    command = [sys.executable, '-c', CHECK]
    return subprocess.run(command, capture_output=True).returncode == 0


def pip(*arguments: str) -> list[str]:
    """Return a command line of pip.

    pip's own cache is not used, because it ignores the version of torch.
    """
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    return [*command, *arguments, '--no-cache-dir', '--no-deps']


def install_wheel(wheel: Path) -> None:
    """Replace the installed mmcv by a wheel, without its dependencies."""
    subprocess.run(pip('install', '--force-reinstall', str(wheel)), check=True)


def torch_version() -> str:
    """Return the version of torch with its suffix, such as ``+cpu``."""
    command = [sys.executable, '-c', 'import torch; print(torch.__version__)']
    return subprocess.check_output(command, text=True).strip()


def compile_wheel(folder: Path) -> Path:
    """Compile mmcv from source into ``folder``, and return the wheel."""
    headers = Path(sysconfig.get_paths()['include'])
    compiler = os.environ.get('CXX') or 'c++'
    if not shutil.which(compiler.split()[0]):
        sys.exit(
            f'There is no C++ compiler {compiler!r}: install g++, or set CXX'
        )
    if not (headers / 'Python.h').is_file():
        sys.exit(f'There is no Python.h in {headers}: install python3-dev')
    env = build_environment(os.environ, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix='mmcv-compiler-') as temporary:
        if needs_cxx20(torch_version()):
            env['CXX'] = str(write_compiler(Path(temporary), compiler))
        return run_build(folder, env)


def run_build(folder: Path, env: Mapping[str, str]) -> Path:
    """Call pip, and print the progress every 30 seconds."""
    print(
        f"Compiling mmcv's operators with MAX_JOBS={env['MAX_JOBS']}. This "
        'happens once for this version of torch and takes 13 minutes of '
        'processor time (7 minutes on two free cores).',
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
    """Install working operators for the torch of this environment."""
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
