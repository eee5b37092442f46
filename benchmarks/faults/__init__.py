# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Faults that `reliability.py` injects, one file a kind."""
