# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""List the runs below a folder: status, steps, last loss, best probe.

mmcae runs [FOLDER]
"""

import argparse
from pathlib import Path

HELP = 'list the runs below a folder'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mmcae runs``."""
    parser.add_argument(
        'folder',
        nargs='?',
        default='work_dirs',
        help='where to look (default: work_dirs)',
    )


def main(args: argparse.Namespace) -> None:
    """Print a line for each run."""
    from mmcae.apis.report import runs_table
    from mmcae.apis.run_folder import find_runs

    if not Path(args.folder).is_dir():
        raise FileNotFoundError(f'there is no folder {args.folder}')
    runs = find_runs(args.folder)
    print(runs_table(runs) if runs else f'no run below {args.folder}')
