# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Encode a folder of images and write the features to one file.

    python tools/extract_features.py CONFIG CHECKPOINT ROOT OUT

The file holds `features` (N, D), `labels` (N,), the names of the classes and
the paths of the images. The class of an image is its folder below ROOT; if
there are no folders, there are no labels. Unreadable images are left out,
counted and named. As in training, more than three of them (or more than 1 %
of a large dataset) stop the run.

`mmcae extract` is the same.
"""

import sys

from mmcae.cli import extract
from mmcae.cli.parser import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(extract, __doc__))
