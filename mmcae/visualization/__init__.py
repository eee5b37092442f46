# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Visualization."""
