# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write list files of ImageNet, and choose a part of it."""

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
    """List path and label of each image of a split; ``meta/`` is not read.

    Args:
        root: The folder that holds ``train/`` or ``val/``.
        name: ``'train'`` or ``'val'``.
        labels: For validation images that are not in class folders: see
            ``validation_wnids``.
        whole: Whether to refuse class folders that are not all 1,000.

    Raises:
        ValueError: If an image has no label, or a class folder is missing.
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
            f'{", ".join(missing[:3])}), so the labels would differ. Complete '
            'the folder, or pass --subset to number only the folders that '
            'exist'
        )
    return split.samples


def _flat_label(path: str, wnids: dict[int, str]) -> int:
    wnid = wnid_in(path)
    if wnid is None:
        number = image_number(path)
        if number not in wnids:
            raise ValueError(
                f'there is no label for {path}: pass the development kit, or '
                'a file of labels, with --labels'
            )
        wnid = wnids[number]
    return LABELS[wnid]


def choose_classes(split: Split, wanted: str | None) -> list[str]:
    """Return the classes to keep, sorted.

    Args:
        split: The images.
        wanted: A number K for the first K classes of ImageNet, a file whose
            lines begin with the name of a class, or None for all classes of
            the split.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a class has no image in the split.
    """
    sizes = split.class_sizes()
    if wanted is None:
        return sorted(sizes)
    if wanted.isdecimal():
        # The first of all classes, not of those in this split: otherwise
        # `train` and `val` could get different classes.
        names = WNIDS[: int(wanted)]
    else:
        lines = Path(wanted).read_text().splitlines()
        names = sorted({line.split()[0] for line in lines if line.strip()})
    if not names:
        raise ValueError(f'--classes {wanted} names no classes')
    absent = [name for name in names if not sizes[name]]
    if absent:
        raise ValueError(
            f'--classes {wanted}: {len(absent)} of its {len(names)} classes '
            f'have no images in {split.source}, e.g. {absent[0]}'
        )
    return names


def choose_samples(
    split: Split, classes: list[str], per_class: int | None, seed: int
) -> list[tuple[str, int]]:
    """Draw images of each class.

    The rank of an image is a hash of the seed and its file name, so it does
    not depend on the layout, the order of the files or the other images. A
    smaller subset is part of a larger one with the same seed.

    Args:
        split: The images.
        classes: The classes to keep; a label is an index of this list.
        per_class: Number of images of each class; None for all.
        seed: Seed of the draw.

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
    """Copy or link images into class folders, and write their list file.

    Args:
        split: The split that the images belong to.
        classes: The classes by label.
        samples: Path and label of each image.
        root: The folder in which ``<split>/<class>/`` and ``meta/`` are
            written.
        link: Whether to write symbolic links instead of copies.

    Returns:
        The new path and the label of each image.

    Raises:
        FileExistsError: If another file has the name of an image, or two
            images would get the same name.
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
                raise FileExistsError(
                    f'{target} exists and is another file: remove it, or '
                    'choose another folder'
                )
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
