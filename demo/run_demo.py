# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pretrain and probe on real images, on a CPU, in minutes: ``make demo``.

Trains a tokenizer on scikit-learn's handwritten digits, pretrains a CAE on
its tokens with three seeds, probes the frozen features, and writes
``work_dirs/demo/report.html``. Training runs ``tools/train.py`` with the
packaged configs, as any other run does.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
TOKENIZER_CONFIG = 'configs/tokenizer/dvae_f8-k64_1xb32-13e_digits-32px.py'
CAE_CONFIG = 'demo/watched_digits.py'

# Percentage points that pretraining must add to a random encoder at 100 labels.
MIN_GAIN = dict(logistic=20, knn=30)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/demo')
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument(
        '--jobs', type=int, default=2, help='number of runs at the same time'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help='further options for the pretraining config',
    )
    parser.add_argument(
        '--no-check',
        action='store_true',
        help='succeed even if pretraining gains little',
    )
    return parser.parse_args()


def train(config: str, work_dir: Path, *options: str) -> Path:
    """Run ``tools/train.py``.

    Returns:
        The last checkpoint.

    Raises:
        SystemExit: If the run fails, with the end of its log.
    """
    command = [sys.executable, str(REPO / 'tools/train.py'), config]
    command += ['--work-dir', str(work_dir), '--overwrite']
    command += ['--cfg-options', *options]
    work_dir.mkdir(parents=True, exist_ok=True)
    # With models this small, more than one thread gains nothing.
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with open(work_dir / 'console.log', 'w') as log:
        code = subprocess.run(
            command, stdout=log, stderr=log, cwd=REPO, env=environment
        ).returncode
    if code:
        tail = (work_dir / 'console.log').read_text().splitlines()[-15:]
        raise SystemExit('\n'.join(tail) + f'\n\nfailed: {" ".join(command)}')
    return work_dir / (work_dir / 'last_checkpoint').read_text().strip()


def say(text: str, start: float) -> None:
    print(f'[{time.perf_counter() - start:5.0f} s] {text}', flush=True)


def main() -> None:
    args = parse_args()
    work = args.work_dir.resolve()
    data = work / 'data'
    start = time.perf_counter()

    sys.path.insert(0, str(REPO / 'tools/dataset_converters'))
    from digits import write_digits

    write_digits(data)
    root = f'data_root={data / "train"}'

    say('training the tokenizer ...', start)
    tokenizer = train(TOKENIZER_CONFIG, work / 'tokenizer', root)
    tokenizer_seconds = time.perf_counter() - start

    def pretrain(seed: int) -> Path:
        say(f'pretraining, seed {seed} ...', start)
        return train(
            CAE_CONFIG,
            work / f'cae_seed{seed}',
            root,
            f'randomness.seed={seed}',
            f'model.target_generator.init_cfg.checkpoint={tokenizer}',
            *args.cfg_options,
        )

    with ThreadPoolExecutor(args.jobs) as pool:
        checkpoints = list(pool.map(pretrain, args.seeds))
    pretrain_seconds = time.perf_counter() - start - tokenizer_seconds

    say('probing ...', start)
    with (
        open(work / 'console.log', 'w') as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        from measure import measure  # imports torch, so not before the runs

        results = measure(work, data, args.seeds, checkpoints)
    results['seconds'] = dict(
        tokenizer=tokenizer_seconds,
        pretraining=pretrain_seconds,
        total=time.perf_counter() - start,
    )
    (work / 'results.json').write_text(json.dumps(results, indent=2))

    from report import gains, print_table, write_report

    page = write_report(work, results)
    print_table(results)
    say(f'report: {page}', start)
    for kind, gain in gains(results).items():
        print(f'{kind}: {gain:+.1f} points over the random encoder')
        if gain < MIN_GAIN[kind] and not args.no_check:
            raise SystemExit(
                f'{kind}: pretraining gained less than {MIN_GAIN[kind]} points '
                'at 100 labels, so it did not work as it should'
            )


if __name__ == '__main__':
    main()
