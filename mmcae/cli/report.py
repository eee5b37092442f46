# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write an HTML page about a run, or about several side by side.

    mmcae report WORK_DIR [WORK_DIR ...]

The page needs no other file: what was run, curves, pictures, and for several
runs what differs in their configs.
"""

import argparse

HELP = 'write a page about one run or several'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mmcae report``."""
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='the page (default: report.html in the first work dir)',
    )


def main(args: argparse.Namespace) -> None:
    """Write the page and print its path."""
    from mmcae.apis.report import write_report

    print(write_report(args.work_dirs, args.out))
