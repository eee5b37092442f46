# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Classify features by their nearest neighbors.

    python tools/knn.py TRAIN TEST --k 10 20 --temperature 0.07

Both files come from tools/extract_features.py, and from folders that have one
subfolder for each class.

`mmcae knn` is the same.
"""

import sys

from mmcae.cli import knn
from mmcae.cli.parser import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(knn, __doc__))
