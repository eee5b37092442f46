# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmcae: Context Autoencoder (CAE) pretraining for OpenMMLab.

Importing the package checks the versions of the packages it stands on, adds
mmcae's models to mmpretrain's model zoo, and makes every checkpoint go
through a loader that executes nothing and says what it loaded, and every
resume through a check of what the file would change.
"""

# ruff: noqa: E402  (the check has to come before what it checks)
from mmcae.utils.version_check import check_versions

check_versions()

from mmcae.checkpoint.load_with_report import register_reported_load
from mmcae.checkpoint.reading import register_safe_loader
from mmcae.checkpoint.resume import register_checked_resume
from mmcae.version import __version__
from mmcae.zoo.model_zoo import register_configs, register_zoo

register_zoo()
register_configs()
register_safe_loader()
register_reported_load()
register_checked_resume()

__all__ = ['__version__']
