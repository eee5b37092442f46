# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Any folder of unlabelled images."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from mmpretrain.datasets import BaseDataset

from mmcae.registry import DATASETS

from .image_cache import ImageCache
from .skip_unreadable import SkipUnreadableMixin
from .transforms.load_image import LoadImage, UnreadableImageError

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


def find_images(root: str, extensions: Sequence[str]) -> list[str]:
    """List the images below a folder.

    Symbolic links are followed; a folder that can be reached in several ways
    (or from within itself) is read once. Hidden files and folders, whose
    names begin with a dot, are left out.

    Args:
        root: The folder.
        extensions: Endings of the names to keep, in lower case.

    Returns:
        Paths in an order that depends on the names alone.
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
    """Unlabelled images below a folder, at any depth.

    Unreadable files are skipped (:class:`SkipUnreadableMixin`).

    Args:
        data_root: The folder. Optional if ``data_prefix`` is given.
        data_prefix: A folder inside it.
        extensions: Endings of the file names to look for, in any case.
        pipeline: The transforms; the first is usually ``mmcae.LoadImage``.
        max_unreadable: The share of files that may be unreadable; up to
            three are always tolerated, unless it is 0.
        cache: Whether to decode all images once, at the start, and keep them
            in memory. For small data sets.
        max_cache_bytes: Size of the cache at which to give up.
        **kwargs: As for mmengine's ``BaseDataset`` (``indices``,
            ``test_mode``, ``lazy_init``, ...).

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If no folder is given, it holds no image, or the cache
            becomes too large.
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
        **kwargs: Any,
    ) -> None:
        if not data_root and not data_prefix:
            raise ValueError('FolderDataset needs data_root: a folder')
        if isinstance(extensions, str):
            extensions = (extensions,)
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
        if not os.path.isdir(root):
            raise FileNotFoundError(
                f'{os.path.abspath(root)} is not a folder: set data_root to '
                'the folder with your images'
            )
        paths = find_images(root, self.extensions)
        if not paths:
            raise ValueError(
                f'no image in {os.path.abspath(root)} or below: looked for '
                f'names that end in {", ".join(self.extensions)}'
            )
        return [{'img_path': path} for path in paths]

    def full_init(self) -> None:
        """Find the images, and decode them if they are to be cached."""
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
                cache.add(path, loader.load(path))
            except UnreadableImageError:
                continue  # named and counted when its turn comes
        cache.finish()

    def get_data_info(self, idx: int) -> dict:
        """Look a sample up.

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
