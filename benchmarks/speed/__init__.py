# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure what a training step costs: time, operations and memory."""
