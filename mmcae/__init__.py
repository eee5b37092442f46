# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmcae: Context Autoencoder (CAE) pretraining for OpenMMLab.

Importing the package checks the versions of the packages it stands on, adds
mmcae's models to mmpretrain's model zoo, and makes every checkpoint go
through a loader that executes nothing and says what it loaded, and every
resume through a check of what the file would change. `mmcae.integration`
lists each change in another package.
"""

# ruff: noqa: E402  (the check has to come before what it checks)
from mmcae.utils.version_check import check_versions

check_versions()

from mmcae.integration import install
from mmcae.version import __version__

install()

__all__ = ['__version__']
