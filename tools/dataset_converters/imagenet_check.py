# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find missing classes and images of ImageNet, and unreadable images."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from imagenet_layout import (
    LABELS,
    NUM_IMAGES,
    PER_CLASS,
    Split,
    explain_empty,
    read_split,
    wnid_in,
)
from mmengine.utils import ProgressBar
from PIL import Image

from mmcae.datasets import LoadImage
from mmcae.datasets.transforms.load_image import UnreadableImageError

METHODS = {
    'decode': 'every image decoded',
    'header': 'headers read, pixels not',
    'skip': 'images not opened',
}
_IMAGES_PER_TASK = 256
_MAX_NAMED = 10


def check_split(
    root: Path,
    name: str,
    *,
    whole: bool,
    method: str,
    workers: int,
    ann_file: Path | None = None,
    train_sizes: dict[str, int] | None = None,
) -> dict:
    """Check one split as training would read it.

    Args:
        root: The folder that holds ``train/``, ``val/`` and perhaps
            ``meta/``.
        name: ``'train'`` or ``'val'``.
        whole: Whether to expect all classes and images of ImageNet.
        method: How to open images: a key of ``METHODS``.
        workers: Number of processes that open images.
        ann_file: A list file to read instead of ``meta/<name>.txt``.
        train_sizes: The number of training images of each class, if known.

    Returns:
        A report that can be written as JSON. Its ``problems`` are empty if
        nothing is wrong.
    """
    report: dict = dict(source=str(root / name), classes=0, images=0)
    try:
        split = read_split(root, name, ann_file)
    except (OSError, ValueError) as error:
        return {**report, 'problems': [str(error)]}
    if not split.samples:
        return {**report, 'problems': [explain_empty(split)]}
    sizes = split.class_sizes()
    report.update(
        source=str(split.source),
        layout='class folders' if split.folders else 'list file',
        classes=len(sizes),
        images=len(split.samples),
        opened=METHODS[method],
    )
    details = {
        'empty_classes': sorted(c for c, size in sizes.items() if not size),
        **_compare_labels(split, whole),
    }
    if whole:
        limits = dict.fromkeys(LABELS, PER_CLASS[name])
        if name == 'train':
            sizes_known = (train_sizes or {}).items()
            limits.update((wnid, (size, size)) for wnid, size in sizes_known)
        details.update(_compare_sizes(sizes, limits))
    details['unreadable_images'] = find_unreadable(split, method, workers)
    details = {what: found for what, found in details.items() if found}
    report.update(details)
    difference = len(split.samples) - NUM_IMAGES[name]
    report['problems'] = [
        f'{len(found):,} {what.replace("_", " ")}: {_some(found)}'
        for what, found in details.items()
    ]
    if whole and difference:
        more = 'more' if difference > 0 else 'fewer'
        report['problems'].append(
            f"{abs(difference):,} images {more} than ImageNet's "
            f'{NUM_IMAGES[name]:,}'
        )
    return report


def _compare_labels(split: Split, whole: bool) -> dict[str, list[str]]:
    if split.folders is not None:
        return {}
    times = Counter(path for path, _ in split.samples)
    found = {'repeated_paths': [p for p, n in times.items() if n > 1]}
    if whole:
        found['wrong_labels'] = [
            f'{path} {label}'
            for path, label in split.samples
            if label >= len(LABELS)
            or LABELS.get(wnid_in(path) or '', label) != label
        ]
    return found


def _compare_sizes(
    sizes: Counter[str], limits: dict[str, tuple[int, int]]
) -> dict[str, list[str]]:
    short, large = [], []
    for wnid, (low, high) in limits.items():
        size = sizes[wnid]
        if 0 < size < low:
            least = '' if low == high else 'at least '
            short.append(f'{wnid} ({size:,} of {least}{low:,})')
        elif size > high:
            large.append(f'{wnid} ({size:,}, at most {high:,})')
    return {
        'missing_classes': [wnid for wnid in limits if wnid not in sizes],
        'short_classes': short,
        'large_classes': large,
        'unknown_classes': sorted(set(sizes) - set(limits)),
    }


def find_unreadable(split: Split, method: str, workers: int) -> dict[str, str]:
    """Open the images in several processes.

    Args:
        split: The images.
        method: How to open them: a key of ``METHODS``.
        workers: Number of processes.

    Returns:
        The reason for each unreadable image, by path, in the order of the
        split.

    Raises:
        BrokenProcessPool: If a process dies, e.g. without enough memory.
    """
    paths = [path for path, _ in split.samples]
    size = _IMAGES_PER_TASK
    chunks = [paths[i : i + size] for i in range(0, len(paths), size)]
    find = partial(_unreadable, folder=str(split.folder), method=method)
    bar = ProgressBar(len(chunks))
    unreadable: dict[str, str] = {}
    # multiprocessing.Pool would wait forever for a process that was killed.
    with ProcessPoolExecutor(workers) as pool:
        for found in pool.map(find, chunks):
            unreadable.update(found)
            bar.update()
    print()
    return unreadable


def _unreadable(
    paths: Iterable[str], folder: str, method: str
) -> list[tuple[str, str]]:
    check = {'decode': _decode, 'header': _read_header, 'skip': _find}[method]
    found = []
    for path in paths:
        reason = check(os.path.join(folder, path))
        if reason:
            found.append((path, reason))
    return found


def _decode(path: str) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # such as invalid EXIF data
        try:
            LoadImage().load(path)
        except UnreadableImageError as error:
            return error.reason
    return None


def _read_header(path: str) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            with Image.open(path):
                return None
        except Exception as error:  # PIL raises nearly every built-in type
            return _find(path) or str(error).replace(path, 'the file')


def _find(path: str) -> str | None:
    return None if os.path.isfile(path) else 'FileNotFoundError: no such file'


def _some(found: list[str] | dict[str, str]) -> str:
    names = [
        f'{name} ({found[name]})' if isinstance(found, dict) else name
        for name in list(found)[:_MAX_NAMED]
    ]
    more = len(found) - len(names)
    return ', '.join(names) + (f', and {more:,} more' if more else '')
