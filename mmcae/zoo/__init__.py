# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make mmcae's models known to mmpretrain's ``get_model``."""

import mmcae.namespace_guard  # noqa: F401
