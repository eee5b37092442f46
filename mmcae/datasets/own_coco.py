# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmdetection's COCO dataset with a check before the training.

This module imports mmdetection, so ``mmcae.datasets`` does not import it. A
config that uses the class has
``custom_imports = dict(imports=['mmcae.datasets.own_coco'])``.
"""

from mmdet.datasets import CocoDataset

from mmcae.registry import DATASETS

from .coco_json import check_coco


@DATASETS.register_module()
class OwnCocoDataset(CocoDataset):
    """Images and a COCO-format JSON of one's own.

    Everything is checked before the first image is read; see `check_coco`.
    mmdetection's class leaves out an object of an unknown category without a
    word, and notices a missing image in the middle of an epoch.

    Args:
        *args: Arguments of mmdetection's ``CocoDataset``.
        with_masks: Whether every object needs a mask.
        **kwargs: Arguments of mmdetection's ``CocoDataset``.

    Raises:
        ConfigError: Names the file, and the first wrong entry.
    """

    def __init__(self, *args, with_masks: bool = False, **kwargs) -> None:
        self.with_masks = with_masks
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Check the annotations and list the images."""
        check_coco(
            self.ann_file,
            self.data_prefix['img'],
            self.metainfo['classes'],
            self.with_masks,
        )
        return super().load_data_list()
