# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Inject faults into real trainings and count what survives.

Every row trains a small CAE (with drop path) on generated images through the
same code as `tools/train.py`. The command prints one table of promises, with
the number of injected faults and of those that were survived, and writes it
to `--out`. The exit status is 1 if a promise is broken.

    python benchmarks/reliability.py              # all, half an hour
    python benchmarks/reliability.py --only kills --kills 20
    python benchmarks/reliability.py --write      # and docs/reliability.md
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tests'))

from faults.configs import config_rows  # noqa: E402
from faults.disk import damage_rows, disk_rows  # noqa: E402
from faults.downloads import download_rows  # noqa: E402
from faults.images import image_rows  # noqa: E402
from faults.kills import kill_rows  # noqa: E402
from faults.numbers import number_rows  # noqa: E402
from faults.processes import process_rows  # noqa: E402
from faults.restarts import restart_rows, signal_rows  # noqa: E402
from faults.resume import resume_rows  # noqa: E402
from faults.runs import Row, Settings  # noqa: E402
from faults.soak import soak_rows  # noqa: E402
from speed.machine import describe_machine, machine_line  # noqa: E402

DOCS = ROOT / 'docs/reliability.md'
MARKS = '<!-- reliability: written by `make reliability` -->', '<!-- end -->'

ROWS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    'resume': resume_rows,
    'kills': kill_rows,
    'damage': damage_rows,
    'disk': disk_rows,
    'downloads': download_rows,
    'images': image_rows,
    'signals': signal_rows,
    'restart': restart_rows,
    'processes': process_rows,
    'numbers': number_rows,
    'configs': config_rows,
    'soak': soak_rows,
}


def table(rows: list[Row]) -> str:
    """Format the rows for Markdown."""
    lines = ['| promise | injected | survived | notes |', '|---|---|---|---|']
    lines += [
        f'| {row.promise} | {row.injected:,} | {row.survived:,} '
        f'| {row.notes} |'
        for row in rows
    ]
    machine = machine_line(describe_machine(torch.device('cpu')))
    return '\n'.join([*lines, '', f'Machine: {machine}.'])


def write_docs(text: str) -> None:
    """Put the table into the documentation."""
    page = DOCS.read_text()
    start, end = MARKS
    head, rest = page.split(start)
    DOCS.write_text(f'{head}{start}\n{text}\n{end}{rest.split(end)[1]}')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--only', nargs='+', choices=ROWS, default=list(ROWS))
    parser.add_argument('--kills', type=int, default=100, help='per setting')
    parser.add_argument('--soak', type=int, default=2000, help='iterations')
    parser.add_argument('--images', type=int, default=2300, help='files')
    parser.add_argument('--out', type=Path, default='work_dirs/benchmarks')
    parser.add_argument(
        '--write', action='store_true', help='also docs/reliability.md'
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), args.kills, args.soak, args.images)
        for name in args.only:
            began = time.perf_counter()
            for row in ROWS[name](settings):
                rows.append(row)
                print(f'{row.survived:>6} of {row.injected:<6} {row.promise}')
            print(f'       {name}: {time.perf_counter() - began:.0f} s')
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    (args.out / 'reliability.md').write_text(text + '\n')
    (args.out / 'reliability.json').write_text(
        json.dumps([row._asdict() for row in rows], indent=2)
    )
    print(f'\n{text}')
    if args.write:
        write_docs(text)
    return int(any(row.survived < row.injected for row in rows))


if __name__ == '__main__':
    sys.exit(main())
