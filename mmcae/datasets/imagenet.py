# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""ImageNet, with a few unreadable files tolerated."""

import os

from mmpretrain.datasets import ImageNet as MMPretrainImageNet

from mmcae.registry import DATASETS

from .skip_unreadable import SkipUnreadableMixin


@DATASETS.register_module()
class ImageNet(SkipUnreadableMixin, MMPretrainImageNet):
    """mmpretrain's ``ImageNet`` that skips unreadable files.

    Layout, meta files and labels are those of mmpretrain.

    Unreadable files are skipped (:class:`SkipUnreadableMixin`), except in
    ``test_mode``.

    Args:
        max_unreadable: The fraction of files that may be unreadable. Up to
            three files are always tolerated, unless the fraction is 0.
        **kwargs: Passed to mmpretrain's class: ``data_root``, ``split``,
            ``pipeline``, ...

    Raises:
        FileNotFoundError: If the folder of images does not exist.
    """

    def load_data_list(self) -> list[dict]:
        """Find the images and their labels."""
        root = self.img_prefix
        if '://' not in root and not os.path.isdir(root):
            raise FileNotFoundError(
                f'{os.path.abspath(root)} is not a folder: put (or link) '
                'ImageNet there, one folder per class, or set data_root'
            )
        return super().load_data_list()
