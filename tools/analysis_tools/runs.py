# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""List the runs below a folder: status, steps, last loss, best probe.

python tools/analysis_tools/runs.py [FOLDER]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmcae.apis.report import runs_table
from mmcae.apis.run_folder import find_runs
from mmcae.launch.errors import run


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'folder',
        nargs='?',
        default='work_dirs',
        help='where to look (default: work_dirs)',
    )
    args = parser.parse_args(argv)
    if not Path(args.folder).is_dir():
        raise FileNotFoundError(f'there is no folder {args.folder}')
    runs = find_runs(args.folder)
    print(runs_table(runs) if runs else f'no run below {args.folder}')


if __name__ == '__main__':
    run(main)
