# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a checkpoint to the formats of other libraries and runtimes."""

import mmcae.namespace_guard  # noqa: F401
