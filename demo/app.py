# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Open a page to play with a model in the browser: ``mmcae app``.

    python demo/app.py [CHECKPOINT] [--folder FOLDER] [--port N]

Without a checkpoint, a small model of the package is used. docs/app.md shows
the page.
"""

import sys

from mmcae.cli import app
from mmcae.cli.parser import run_tool

if __name__ == '__main__':
    sys.exit(run_tool(app, __doc__))
