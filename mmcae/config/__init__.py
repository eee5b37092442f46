# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Configs: where they are found, options applied, keys and values checked."""

import mmcae.namespace_guard  # noqa: F401
