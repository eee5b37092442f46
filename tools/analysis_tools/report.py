# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write an HTML page about a run, or about several side by side.

    python tools/analysis_tools/report.py WORK_DIR [WORK_DIR ...]

The page needs no other file: what was run, curves, pictures, and for several
runs what differs in their configs.

`mmcae report` is the same.
"""

import sys

from mmcae.cli import report
from mmcae.cli.parser import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(report, __doc__))
