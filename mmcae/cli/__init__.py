# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The command ``mmcae``: one module for each verb."""

import mmcae.namespace_guard  # noqa: F401
