# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Check on one GPU, in ten minutes, what mmcae claims for GPUs.

    python benchmarks/gpu_check.py --device cuda --out work_dirs/gpu_check
    python benchmarks/gpu_check.py --device cpu      # small sizes, 3 minutes
    python benchmarks/gpu_check.py --install-from wheelhouse

Each check runs in a process of its own, with a time limit. Writes
``gpu_check.json`` and ``gpu_check.md``. The exit status is 0 if no check
failed, 1 if one did, 2 if an option is wrong. A goal that is not reached
fails no check.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/gpu_check')
    )
    parser.add_argument('--only', nargs='+', metavar='NAME', default=[])
    parser.add_argument('--skip', nargs='+', metavar='NAME', default=[])
    parser.add_argument('--list', action='store_true', help='name the checks')
    parser.add_argument(
        '--official', type=Path, help="the authors' repository"
    )
    parser.add_argument(
        '--long', action='store_true', help='long trainings on a CPU, too'
    )
    parser.add_argument(
        '--minutes', type=float, default=10, help='of all checks together'
    )
    parser.add_argument(
        '--install-from',
        type=Path,
        metavar='DIR',
        help='install the wheels of this folder into an environment beside '
        '--out that also sees the packages of this one, and run there',
    )
    parser.add_argument('--run-one', nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def install_from(wheels: Path, out: Path) -> Path:
    """Make an environment from wheels alone.

    PyTorch, torchvision and NumPy stay those of the environment that this
    script runs in: ``--no-deps`` installs what ``requirements.txt`` names.

    Args:
        wheels: Folder with wheels and ``requirements.txt``.
        out: The results' folder; the environment lies beside it.

    Returns:
        The environment's Python.

    Raises:
        SystemExit: If the folder has no ``requirements.txt``.
    """
    names = wheels / 'requirements.txt'
    if not names.is_file():
        raise SystemExit(
            f'{wheels} has no requirements.txt: make it with '
            '`make wheelhouse`, or give its folder'
        )
    folder = out.resolve().with_name(out.name + '-env')
    venv.EnvBuilder(system_site_packages=True, with_pip=False).create(folder)
    python = folder / ('Scripts' if sys.platform == 'win32' else 'bin')
    python = python / 'python'
    version = f'python{sys.version_info[0]}.{sys.version_info[1]}'
    site = folder / 'lib' / version / 'site-packages'
    # A virtual environment's own packages: venv shows those of the base only.
    others = [path for path in sys.path if path.endswith('-packages')]
    # Not plain paths: the .pth files in these folders count as well, such as
    # the one by which setuptools supplies distutils to Python 3.12.
    (site / 'outer.pth').write_text(
        ''.join(f'import site; site.addsitedir({p!r})\n' for p in others)
    )
    command = [sys.executable, '-m', 'pip', '--python', str(python)]
    command += ['install', '--no-index', '--no-deps', '--find-links']
    subprocess.run([*command, str(wheels), '-r', str(names)], check=True)
    return python


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.install_from is not None:
        python = install_from(args.install_from, args.out)
        rest = list(sys.argv[1:] if argv is None else argv)
        at = next(
            i for i, o in enumerate(rest) if o.startswith('--install-from')
        )
        del rest[at : at + (1 if '=' in rest[at] else 2)]
        return subprocess.run([python, __file__, *rest]).returncode
    sys.path[:0] = [str(HERE), str(HERE.parent)]  # a checkout needs no install
    import torch
    from gpu.process import child_command, run_apart, run_here
    from gpu.registry import CHECKS
    from gpu.report import FAILED, full_text, summary_table
    from gpu.settings import Settings
    from speed.machine import describe_machine, machine_line

    if args.list:
        for name, check in CHECKS.items():
            print(f'{name}: {check.title}')
        return 0
    unknown = [n for n in (*args.only, *args.skip) if n not in CHECKS]
    if unknown:
        print(
            f'error: there is no check {unknown}, but {list(CHECKS)}',
            file=sys.stderr,
        )
        return 2
    if args.device == 'cuda' and not torch.cuda.is_available():
        print(
            'error: PyTorch finds no GPU here; --device cpu runs the checks '
            'with small sizes',
            file=sys.stderr,
        )
        return 2
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(args.device, out, args.official, args.long)
    if args.run_one:
        name, path = args.run_one
        run_here(CHECKS[name], settings, Path(path))
        return 0
    names = [n for n in args.only or CHECKS if n not in args.skip]
    paths = ':'.join(map(str, (HERE, HERE.parent)))
    environment = dict(
        CUBLAS_WORKSPACE_CONFIG=':4096:8',  # what deterministic runs ask for
        PYTHONPATH=paths,
    )
    if not settings.cuda:
        environment['OMP_NUM_THREADS'] = '1'
    machine = describe_machine(settings.torch_device)
    start = time.perf_counter()
    results: dict[str, dict] = {}
    for name in names:
        check, path = CHECKS[name], out / 'checks' / f'{name}.json'
        left = 60 * args.minutes - (time.perf_counter() - start)
        if settings.long:
            left = float('inf')
        if left < 1:
            result = dict(status=FAILED, rows=[], details={}, seconds=0.0)
            result['reason'] = f'the {args.minutes:g} minutes were spent'
        else:
            result = run_apart(
                child_command(Path(__file__), name, path, settings),
                path,
                min(left, check.limit(settings)),
                environment,
            )
        result['title'] = check.title
        results[name] = result
        print(
            f'{name}: {result["status"]} ({result["seconds"]:.0f} s)',
            flush=True,
        )
        failed = [n for n, r in results.items() if r['status'] == FAILED]
        everything = dict(
            device=args.device,
            machine=machine,
            seconds=time.perf_counter() - start,
            failed=failed,
            checks=results,
        )
        (out / 'gpu_check.json').write_text(
            json.dumps(everything, indent=1) + '\n'
        )
        text = full_text(results, machine_line(machine))
        (out / 'gpu_check.md').write_text(text)
    print('\n' + full_text(results, machine_line(machine)))
    print(summary_table(results))
    return 1 if failed else 0


if __name__ == '__main__':
    # So that the check that runs is killed, too: see `run_apart`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
