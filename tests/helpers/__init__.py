# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Functions and data that several test folders share."""
