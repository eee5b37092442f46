# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a config and command-line options to a running Runner."""

import mmcae.namespace_guard  # noqa: F401
