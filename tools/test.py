# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Test a checkpoint with a config of mmcae or of another OpenMMLab package.

`mmcae test` is the same.
"""

import sys

from mmcae.cli import test
from mmcae.cli.parser import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(test, __doc__))
