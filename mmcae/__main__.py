# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``python -m mmcae`` is the command ``mmcae``."""

import sys

from mmcae.cli.parser import run_command

if __name__ == '__main__':
    sys.exit(run_command())
