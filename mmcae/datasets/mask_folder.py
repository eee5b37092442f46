# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A dataset for segmentation: a folder of images and a folder of masks."""

import os
from collections import Counter
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image

from mmcae.config.check import ConfigError
from mmcae.registry import DATASETS

from .folder_dataset import EXTENSIONS, find_images

#: Subfolders of both parts, if the user has divided the images.
PARTS = {'train': ('train', 'training'), 'val': ('val', 'validation', 'test')}
#: In a mask, a pixel that counts neither in training nor in an evaluation.
NOT_LABELED = 255
#: Masks whose values are checked, at most; spread over the folder.
MOST_CHECKED = 2_000
_INDEX_MODES = ('L', 'P', '1')


@DATASETS.register_module()
class MaskFolderDataset(BaseDataset):
    """Images, each with a mask of class indices of the same name.

    The mask of ``images/a/b.jpg`` is ``masks/a/b.png``: a PNG with one
    channel, whose values are the indices of the classes; 255 means that a
    pixel is not labeled. If both folders have the subfolders ``train`` and
    ``val``, these are the parts; otherwise a share of the images is drawn at
    random and held out.

    The masks are checked before the training: all must be there, have the
    size of their image and one channel, and up to 2,000 of them must have no
    value without a class.

    Args:
        classes: Names of the classes, in the order of their indices.
        part: ``'train'`` or ``'val'``.
        images: Folder of the images, below ``data_root``.
        masks: Folder of the masks, below ``data_root``.
        zero_is_unlabeled: Whether 0 means that a pixel is not labeled and
            the classes begin at 1, as in ADE20K.
        val_share: Share of the images that is held out, if they are not
            divided into subfolders.
        split_seed: Seed of that draw.
        **kwargs: Arguments of mmengine's ``BaseDataset``: ``data_root``,
            ``pipeline`` and others.

    Raises:
        ConfigError: If images or masks are missing or wrong; names the first.
    """

    def __init__(
        self,
        classes: Sequence[str],
        part: str = 'train',
        images: str = 'images',
        masks: str = 'masks',
        zero_is_unlabeled: bool = False,
        val_share: float = 0.2,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if part not in PARTS:
            raise ValueError(f"part must be 'train' or 'val', got {part!r}")
        if not 0 < val_share < 1:
            raise ValueError(f'val_share is a share, got {val_share}')
        self.part = part
        self.zero_is_unlabeled = zero_is_unlabeled
        self.val_share = val_share
        self.split_seed = split_seed
        metainfo = dict(classes=tuple(classes), palette=palette(len(classes)))
        super().__init__(
            ann_file='',
            metainfo=metainfo,
            data_prefix=dict(img_path=images, seg_map_path=masks),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List and check the images of the part, with their masks."""
        images = Path(self.data_prefix['img_path'])
        masks = Path(self.data_prefix['seg_map_path'])
        for folder in (images, masks):
            if not folder.is_dir():
                raise ConfigError(f'there is no folder {folder}')
        names = self._names_of_part(images)
        pairs = [(images / n, (masks / n).with_suffix('.png')) for n in names]
        check_masks(pairs, self.metainfo['classes'], self.zero_is_unlabeled)
        # The keys that mmsegmentation's transforms read.
        return [
            dict(
                img_path=str(image),
                seg_map_path=str(mask),
                label_map=None,
                reduce_zero_label=self.zero_is_unlabeled,
                seg_fields=[],
            )
            for image, mask in pairs
        ]

    def _names_of_part(self, images: Path) -> list[str]:
        """Paths below the folder of images."""
        found = [
            os.path.relpath(path, images)
            for path in find_images(str(images), EXTENSIONS)
        ]
        first = Counter(Path(name).parts[0] for name in found)
        given = {
            part: [name for name in folders if name in first]
            for part, folders in PARTS.items()
        }
        if all(given.values()):
            chosen = given[self.part]
            return [n for n in found if Path(n).parts[0] in chosen]
        if len(found) < 2:
            raise ConfigError(
                f'{images} has {len(found)} images: at least two are needed, '
                'one to train and one to validate'
            )
        held = held_out(len(found), self.val_share, self.split_seed)
        return [
            name
            for name, is_val in zip(found, held, strict=True)
            if is_val == (self.part == 'val')
        ]


def held_out(count: int, share: float, seed: int) -> np.ndarray:
    """Draw which of some images are held out.

    Args:
        count: Number of images.
        share: Share of them that is drawn, at least one and not all.
        seed: Seed of the draw.

    Returns:
        True for the images that are held out, ``(count,)``.
    """
    number = min(max(1, round(share * count)), count - 1)
    held = np.zeros(count, bool)
    held[np.random.default_rng(seed).permutation(count)[:number]] = True
    return held


def check_masks(
    pairs: Sequence[tuple[Path, Path]],
    classes: Sequence[str],
    zero_is_unlabeled: bool = False,
) -> None:
    """Check masks before a training.

    Args:
        pairs: Image and mask.
        classes: Names of the classes.
        zero_is_unlabeled: Whether the classes begin at 1.

    Raises:
        ConfigError: Names the first mask that is missing or wrong.
    """
    missing = [mask for _, mask in pairs if not mask.is_file()]
    if missing:
        raise ConfigError(
            f'{len(missing)} of {len(pairs)} images have no mask, the first '
            f'is {missing[0]}'
        )
    step = -(-len(pairs) // MOST_CHECKED)
    counts = np.zeros(256, np.int64)
    for number, (image, mask) in enumerate(pairs):
        values = _checked_values(image, mask, number % step == 0)
        if values is None:
            continue
        _check_values(mask, values, classes, zero_is_unlabeled)
        counts += values
    counts[NOT_LABELED] = 0
    counts[0] *= not zero_is_unlabeled
    if np.count_nonzero(counts) == 1 and len(classes) > 1:
        only = int(counts.nonzero()[0][0])
        raise ConfigError(
            f'in all {len(pairs)} masks in {pairs[0][1].parent}, every '
            f'labeled pixel has the value {only}: nothing can be told apart '
            f'({NOT_LABELED} means not labeled; the classes are '
            f'{_listed(classes, zero_is_unlabeled)})'
        )


def _checked_values(
    image: Path, mask: Path, with_values: bool
) -> np.ndarray | None:
    """Check size and channels; count the pixels of each value, ``(256,)``."""
    try:
        with Image.open(image) as picture:
            size = picture.size
            if picture.getexif().get(0x0112, 1) >= 5:  # lies on its side
                size = size[::-1]
        with Image.open(mask) as labels:
            if labels.mode not in _INDEX_MODES:
                raise ConfigError(
                    f'the mask {mask} has the mode {labels.mode}: a mask has '
                    'one channel of 8 bits, whose values are the indices of '
                    'the classes (mode L or P)'
                )
            if labels.size != size:
                raise ConfigError(
                    f'the mask {mask} has {labels.width} x {labels.height} '
                    f'pixels, and its image {size[0]} x {size[1]}'
                )
            if not with_values:
                return None
            pixels = np.asarray(labels, np.uint8)
    except (OSError, SyntaxError) as error:
        raise ConfigError(
            f'{image} or its mask {mask} cannot be read: {error}'
        ) from error
    return np.bincount(pixels.ravel(), minlength=256)


def _check_values(
    mask: Path,
    counts: np.ndarray,
    classes: Sequence[str],
    zero_is_unlabeled: bool,
) -> None:
    most = len(classes) - (not zero_is_unlabeled)
    values = [int(v) for v in counts.nonzero()[0] if most < v < NOT_LABELED]
    if values:
        raise ConfigError(
            f'the mask {mask} has the value {values[-1]}, and the '
            f'{len(classes)} classes are '
            f'{_listed(classes, zero_is_unlabeled)}: correct the mask, or '
            'give all classes'
        )


def _listed(classes: Sequence[str], zero_is_unlabeled: bool) -> str:
    first = int(zero_is_unlabeled)
    shown = [f'{i + first} = {name}' for i, name in enumerate(classes[:8])]
    return ', '.join(shown) + (', ...' if len(classes) > 8 else '')


def palette(count: int) -> list[list[int]]:
    """Colors of classes, RGB from 0 to 255; the first one is gray."""
    colors = [[120, 120, 120]]
    for index in range(count - 1):
        # The golden ratio spreads the hues, whatever their number.
        hue = index * 0.618034 % 1
        colors.append([round(255 * v) for v in hsv_to_rgb(hue, 0.85, 0.9)])
    return colors
