# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Train with a config of mmcae, mmpretrain, mmsegmentation or mmdetection.

`mmcae train` is the same.
"""

import sys

from mmcae.cli import train
from mmcae.cli.parser import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(train, __doc__))
