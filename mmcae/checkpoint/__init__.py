# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Checkpoints: what their contents may do, and how they are named."""
