# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Build and start a Runner from a config and command-line options."""

import mmcae.namespace_guard  # noqa: F401
