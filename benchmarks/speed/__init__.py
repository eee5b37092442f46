# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measuring what a training step costs: time, operations and memory."""
