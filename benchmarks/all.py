# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run all cost benchmarks, and write one table of ratios.

    python benchmarks/all.py                       # an hour on two cores
    python benchmarks/all.py --arch tiny --quick   # to try it out

Runs ``step.py`` (with computed and with stored tokens; on CPUs with one thread
and with two), ``tokenizer.py``, ``scaling.py`` and ``dataloader.py``. A tool
whose JSON file is in ``--out`` is not run again. Writes ``ratios.md`` to
``--out``.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from speed.ratios import ratio_rows, ratio_table

HERE = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--arch',
        default='base',
        help='size of the models (default: %(default)s)',
    )
    parser.add_argument(
        '--device', default='cpu', help='cpu or cuda (default: %(default)s)'
    )
    parser.add_argument(
        '--threads',
        nargs='+',
        default=['1', '2'],
        help='threads of a CPU: steps are measured with each number, '
        'everything else with the first (default: 1 2)',
    )
    parser.add_argument(
        '--rounds',
        default='5',
        help='number of measured steps (default: %(default)s)',
    )
    parser.add_argument(
        '--official',
        help="clone of the authors' repository, to measure it too",
    )
    parser.add_argument(
        '--weights', help='checkpoint of the tokenizer (default: random)'
    )
    parser.add_argument(
        '--quick', action='store_true', help='two rounds of small cases'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmarks'),
        help='folder for the results (default: %(default)s)',
    )
    return parser.parse_args()


def commands(args: argparse.Namespace) -> dict[str, list[str]]:
    """The tools' command lines, by the name of the file that each writes."""
    rounds = '2' if args.quick else args.rounds
    common = ['--device', args.device, '--rounds', rounds]
    common += ['--threads', args.threads[0], '--out', str(args.out)]
    weights = ['--weights', args.weights] if args.weights else []
    arch = [*common, '--arch', args.arch]
    # The tiny CAE has another tokenizer than DALL-E's.
    arch += weights if args.arch != 'tiny' else []
    step = ['step.py', *arch]
    if args.quick:
        step += ['--batch-sizes', '2', '--no-peaks']
    else:
        sizes = ('4', '8') if args.device == 'cpu' else ('64',)
        step += ['--batch-sizes', *sizes]
    if args.official:
        step += ['--official', args.official]
    scaling = ['scaling.py', *arch]
    tokenizer = ['tokenizer.py', *common, *weights]
    data = ['dataloader.py', '--out', str(args.out / 'dataloader.json')]
    if args.quick:
        grids = ('4', '6') if args.arch == 'tiny' else ('14', '16')
        scaling += ['--batch-sizes', '1', '2', '--grids', *grids]
        tokenizer += ['--width', '16', '--batch-size', '1']
        data += ['--images', '8', '--rounds', '2']
    stored = [*step, '--tokens', 'stored', '--no-parts']
    stored += [] if '--no-peaks' in step else ['--no-peaks']
    threads = args.threads[1:] if args.device == 'cpu' else []
    again = {}
    for number in threads:
        for name, line in (('step', step), ('step_stored', stored)):
            folder = ['--out', str(args.out / f'threads{number}')]
            options = ['--threads', number, '--no-parts', '--no-peaks']
            again[f'threads{number}/{name}'] = [*line, *folder, *options]
    return dict(
        step=[*step, '--with-cp'],
        step_stored=stored,
        **again,
        tokenizer=tokenizer,
        scaling=scaling,
        dataloader=data,
    )


def main() -> None:
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (tool, *options) in commands(args).items():
        file = args.out / f'{name}.json'
        if not file.is_file():
            print(f'{tool} {" ".join(options)}', flush=True)
            line = [sys.executable, str(HERE / tool), *options]
            subprocess.run(line, check=True)
        rows += ratio_rows(name, json.loads(file.read_text()))
    table = ratio_table(rows)
    (args.out / 'ratios.md').write_text(table)
    print(table)


if __name__ == '__main__':
    main()
