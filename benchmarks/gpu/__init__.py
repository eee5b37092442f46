# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The checks of ``gpu_check.py``, one file a check."""
