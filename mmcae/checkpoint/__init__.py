# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Checkpoints: files made by others, read as data and never as code."""

import mmcae.namespace_guard  # noqa: F401
