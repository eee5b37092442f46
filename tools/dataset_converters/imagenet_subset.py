# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Lists and parts of ImageNet."""

import hashlib
import os
import shutil
from collections import defaultdict
from pathlib import Path, PurePosixPath

from imagenet_labels import image_number, validation_wnids
from imagenet_layout import (
    LABELS,
    WNIDS,
    Split,
    explain_empty,
    flat_images,
    read_split,
    wnid_in,
    write_list,
)


def list_samples(
    root: Path, name: str, labels: Path | None, whole: bool
) -> list[tuple[str, int]]:
    """Path and label of each image in a folder; ``meta/`` is not read.

    Args:
        root: The folder that holds ``train/`` or ``val/``.
        name: ``'train'`` or ``'val'``.
        labels: For validation images that are not in class folders: see
            ``validation_wnids``.
        whole: Whether anything but 1,000 class folders is refused.

    Raises:
        ValueError: If there is no label for an image.
    """
    split = read_split(root, name, folders_only=True)
    flat = [] if split.samples else flat_images(split.folder)
    if flat:
        wnids = validation_wnids(labels) if labels else {}
        return [(path, _flat_label(path, wnids)) for path in flat]
    if not split.samples:
        raise ValueError(explain_empty(split))
    if whole and split.folders != WNIDS:
        missing = [wnid for wnid in WNIDS if wnid not in split.folders]
        raise ValueError(
            f'{split.folder} has {len(split.folders)} class folders, not '
            f"ImageNet's {len(WNIDS):,} (first missing: "
            f'{", ".join(missing[:3])}): the labels would be others. '
            'Complete it, or say --subset to number the folders that are '
            'there'
        )
    return split.samples


def _flat_label(path: str, wnids: dict[int, str]) -> int:
    wnid = wnid_in(path)
    if wnid is None:
        number = image_number(path)
        if number not in wnids:
            raise ValueError(
                f'there is no label for {path}: give the development kit, or '
                'a file of labels, with --labels'
            )
        wnid = wnids[number]
    return LABELS[wnid]


def choose_classes(split: Split, wanted: str | None) -> list[str]:
    """The classes to keep, sorted.

    Args:
        split: The images.
        wanted: A number (so many of ImageNet's first), a file of names, one
            at the beginning of each line, or None for all that are there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a class is not there.
    """
    there = split.class_sizes()
    if wanted is None:
        return sorted(there)
    if wanted.isdecimal():
        # of all, not of those that are there: or `train` and `val` could get
        # different classes
        names = WNIDS[: int(wanted)]
    else:
        lines = Path(wanted).read_text().splitlines()
        names = sorted({line.split()[0] for line in lines if line.strip()})
    if not names:
        raise ValueError(f'--classes {wanted} names no class')
    absent = [name for name in names if not there[name]]
    if absent:
        raise ValueError(
            f'--classes {wanted}: {len(absent)} of its {len(names)} classes '
            f'have no image in {split.source}, e.g. {absent[0]}'
        )
    return names


def choose_samples(
    split: Split, classes: list[str], per_class: int | None, seed: int
) -> list[tuple[str, int]]:
    """Draw images of each class.

    An image's rank follows from the seed and its name alone: not from the
    layout, the order of the files or which others exist. A smaller subset is
    part of a larger one of the same seed.

    Args:
        split: The images.
        classes: The classes to keep; their order numbers the labels.
        per_class: How many of each, None for all.
        seed: Another seed draws others.

    Returns:
        Paths and labels, sorted by label and path.
    """
    members = defaultdict(list)
    for path, label in split.samples:
        members[split.class_name(path, label)].append(path)

    def rank(path: str) -> tuple[bytes, str]:
        text = f'{seed} {PurePosixPath(path).name}'
        return hashlib.sha256(text.encode()).digest(), path

    return [
        (path, label)
        for label, wnid in enumerate(classes)
        for path in sorted(sorted(members[wnid], key=rank)[:per_class])
    ]


def place_files(
    split: Split,
    classes: list[str],
    samples: list[tuple[str, int]],
    root: Path,
    link: bool,
) -> list[tuple[str, int]]:
    """Copy or link images into class folders, with a list of them.

    Args:
        split: Where the images are.
        classes: The classes by label.
        samples: The images.
        root: Where ``<split>/<class>/`` and ``meta/`` are written.
        link: Whether to write symbolic links instead of copies.

    Returns:
        The new paths and the labels.

    Raises:
        FileExistsError: If something else is there, or two images would
            have one name.
    """
    placed = [
        (f'{classes[label]}/{PurePosixPath(path).name}', label)
        for path, label in samples
    ]
    origins: dict[str, str] = {}
    for (old, _), (new, _) in zip(samples, placed, strict=True):
        if origins.setdefault(new, old) != old:
            raise FileExistsError(
                f'{old} and {origins[new]} would both become {new}'
            )
    for new, old in origins.items():
        source = (split.folder / old).resolve(strict=True)
        target = root / split.name / new
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() or target.is_symlink():
            if not _same(source, target, link):
                raise FileExistsError(f'{target} exists and is another file')
        elif link:
            target.symlink_to(source)
        else:
            partial = target.with_name(f'.{target.name}.part')
            shutil.copyfile(source, partial)
            os.replace(partial, target)
    write_list(root / 'meta' / f'{split.name}.txt', placed)
    return placed


def _same(source: Path, target: Path, link: bool) -> bool:
    if link:
        return target.resolve() == source
    return (
        not target.is_symlink()
        and target.stat().st_size == source.stat().st_size
    )
