# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write an HTML page about a run, or about several side by side.

    python tools/analysis_tools/report.py WORK_DIR [WORK_DIR ...]

The page needs no other file: what was run, curves, pictures, and for several
runs what differs in their configs.
"""

import argparse
from collections.abc import Sequence

from mmcae.apis.report import write_report
from mmcae.launch.errors import run


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='the page (default: report.html in the first work dir)',
    )
    args = parser.parse_args(argv)
    print(write_report(args.work_dirs, args.out))


if __name__ == '__main__':
    run(main)
