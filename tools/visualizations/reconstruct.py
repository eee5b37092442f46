# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Draw what a pretrained CAE makes of images whose patches are masked.

    python tools/visualizations/reconstruct.py CHECKPOINT IMAGE-or-FOLDER ...

Each row of the picture is one image with one mask; docs/visualize.md explains
the columns.
"""

from visualization_cli import start

from mmcae.cli.reconstruct import add_arguments, main

if __name__ == '__main__':
    start(__doc__, add_arguments, main)
