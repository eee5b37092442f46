# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The package version, the single place where it is written."""

__version__ = '0.1.0'
