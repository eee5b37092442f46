# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A dataset of the images in a folder, without labels."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmcae.registry import DATASETS

from .image_cache import ImageCache
from .skip_unreadable import SkipUnreadableMixin
from .transforms.load_image import LoadImage, UnreadableImageError
from .transforms.read_pixels import ARRAY_EXTENSIONS
from .transforms.resize import resize

EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.webp',
    '.bmp',
    '.tif',
    '.tiff',
    '.gif',
    '.ppm',
    '.pgm',
    '.jp2',
    '.avif',
)


def listed_images(list_file: str, root: str = '') -> list[str]:
    """Read the paths of images from a text file.

    Empty lines and lines that begin with ``#`` are skipped.

    Args:
        list_file: The file, one path a line.
        root: The folder that relative paths start from; the folder of the
            file if it is empty.

    Returns:
        The paths in the order of the file.
    """
    folder = root or os.path.dirname(os.path.abspath(list_file))
    with open(list_file, encoding='utf-8', errors='surrogateescape') as file:
        lines = [line.strip() for line in file]
    return [
        os.path.join(folder, os.path.expanduser(line))
        for line in lines
        if line and not line.startswith('#')
    ]


def images_below(
    root: str, extensions: Sequence[str] = EXTENSIONS
) -> list[str]:
    """List the images below a folder; NumPy arrays if it has no others.

    Arrays that lie beside images are labels or features.

    Args:
        root: The folder.
        extensions: As for `find_images`. With others than the usual ones,
            arrays are images only if ``'.npy'`` is among them.

    Returns:
        The paths, sorted by name.
    """
    found = find_images(root, extensions)
    if not found and set(extensions) == set(EXTENSIONS):
        found = find_images(root, ARRAY_EXTENSIONS)
    return found


def find_images(root: str, extensions: Sequence[str]) -> list[str]:
    """List the images below a folder.

    Symbolic links are followed. A folder that can be reached by several
    paths is read only once, even if a link inside it leads back to it. Files
    and folders whose names begin with a dot are skipped.

    Args:
        root: The folder.
        extensions: File extensions to look for, in lower case.

    Returns:
        The paths, sorted by name.
    """
    wanted = tuple(extensions)
    seen: set[tuple[int, int]] = set()
    found = []
    pending = [root]
    while pending:
        folder = pending.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if entry.is_dir():
                    subfolders.append(entry.path)
                elif entry.name.lower().endswith(wanted):
                    found.append(entry.path)
        pending += sorted(subfolders, reverse=True)
    return sorted(found)


@DATASETS.register_module()
class FolderDataset(SkipUnreadableMixin, BaseDataset):
    """Unlabeled images in a folder and its subfolders.

    Unreadable files are skipped (:class:`SkipUnreadableMixin`).

    Args:
        data_root: The folder. Optional if ``data_prefix`` is given.
        data_prefix: A subfolder of ``data_root``.
        extensions: File extensions to look for, in upper or lower case. With
            the usual ones, a folder without images may have arrays (``.npy``).
        pipeline: The transforms; the first is usually ``mmcae.LoadImage``.
        max_unreadable: The fraction of files that may be unreadable. Up to
            three files are always tolerated, unless the fraction is 0.
        cache: Whether to decode all images once, at the start, and keep them
            in memory. This is meant for small datasets.
        max_cache_bytes: The largest allowed size of the cache.
        list_file: A text file that names the images, one path a line, if not
            all images of the folder are wanted. Relative paths start from the
            folder, or from the file's own folder if no folder is given.
        cache_side: Images whose short side is longer, in pixels, are reduced
            to it before they are cached, so that large photographs need
            little memory and are cropped fast. None keeps them whole.
        **kwargs: Passed to mmengine's ``BaseDataset`` (``indices``,
            ``test_mode``, ``lazy_init``, ...).

    Raises:
        FileNotFoundError: If the folder or the list does not exist.
        ValueError: If no folder is given, the folder or the list has no
            image, or the cache becomes too large.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: str | dict = '',
        extensions: Sequence[str] = EXTENSIONS,
        pipeline: Sequence[dict | Callable] = (),
        max_unreadable: float = 0.01,
        cache: bool = False,
        max_cache_bytes: int = 2 << 30,
        list_file: str = '',
        cache_side: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not data_root and not data_prefix and not list_file:
            raise ValueError('FolderDataset needs a folder: set data_root')
        if isinstance(extensions, str):
            extensions = (extensions,)
        self.cache_side = cache_side
        self.list_file = os.path.expanduser(list_file)
        self.extensions = tuple(sorted({e.lower() for e in extensions}))
        self.cache = ImageCache(max_cache_bytes) if cache else None
        super().__init__(
            ann_file='',
            data_root=os.path.expanduser(data_root),
            data_prefix=data_prefix,
            pipeline=pipeline,
            max_unreadable=max_unreadable,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Find the images."""
        root = self.img_prefix
        if self.list_file:
            paths = listed_images(self.list_file, root)
            if not paths:
                raise ValueError(f'{self.list_file} names no image')
            return [{'img_path': path} for path in paths]
        if not os.path.isdir(root):
            raise FileNotFoundError(
                f'{os.path.abspath(root)} is not a folder: set data_root to '
                'the folder with your images'
            )
        paths = images_below(root, self.extensions)
        if not paths:
            raise ValueError(
                f'no image in {os.path.abspath(root)} or its subfolders: the '
                f'file extensions are {", ".join(self.extensions)}'
            )
        return [{'img_path': path} for path in paths]

    def full_init(self) -> None:
        """Find the images, and decode them if ``cache`` is set."""
        if self._fully_initialized:
            return
        super().full_init()
        if self.cache is not None:
            self._fill(self.cache)

    def _fill(self, cache: ImageCache) -> None:
        loader = next(
            (t for t in self.pipeline.transforms if isinstance(t, LoadImage)),
            LoadImage(),
        )
        for index in range(len(self)):
            path = super().get_data_info(index)['img_path']
            try:
                img = loader.load(path)
            except UnreadableImageError:
                continue  # reported when the pipeline loads this sample
            cache.add(path, self._reduced(img))
        cache.finish()

    def _reduced(self, img: np.ndarray) -> np.ndarray:
        height, width = img.shape[:2]
        short = min(height, width)
        if self.cache_side is None or short <= self.cache_side:
            return img
        side = self.cache_side
        size = (round(height * side / short), round(width * side / short))
        return resize(img, size, 'bicubic', 'fast')

    def get_data_info(self, idx: int) -> dict:
        """Return the description of a sample.

        Args:
            idx: The sample's index.

        Returns:
            A dict with ``img_path``, ``sample_idx`` and, if cached, ``img``.
        """
        info = super().get_data_info(idx)
        if self.cache is not None:
            img = self.cache.get(info['img_path'])
            if img is not None:
                info['img'] = img
        return info
