# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The names that mmpretrain's ``get_model`` and ``list_models`` know."""

import mmcae.namespace_guard  # noqa: F401
