# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmcae: Context Autoencoder (CAE) pretraining for OpenMMLab.

Importing the package checks the versions of the packages that it needs and
adds mmcae's models to mmpretrain's model zoo. From then on, checkpoints are
read by a loader that executes nothing and reports what it loaded, and a
checkpoint that is to be resumed is checked first. `mmcae.integration` lists
every change in another package.
"""

# ruff: noqa: E402  (the check has to come before what it checks)
from mmcae.utils.version_check import check_versions

check_versions()

from mmcae.integration import install
from mmcae.version import __version__

install()

__all__ = ['__version__']
