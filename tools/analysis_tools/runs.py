# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""List the runs below a folder: status, steps, last loss, best probe.

python tools/analysis_tools/runs.py [FOLDER]

`mmcae runs` is the same.
"""

import sys

from mmcae.cli import runs
from mmcae.cli.parser import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(runs, __doc__))
