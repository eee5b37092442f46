# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The layouts of ImageNet, read the way training reads them."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmpretrain.datasets import ImageNet
from mmpretrain.datasets.custom import find_folders, get_samples

from mmcae.checkpoint.download import atomic_write

# The 1,000 classes in the order of their labels. WordNet's numbers.
WNIDS = (
    Path(__file__).with_name('imagenet_wnids.txt').read_text().split()
)  # fmt: skip
LABELS = {wnid: label for label, wnid in enumerate(WNIDS)}
NUM_IMAGES = {'train': 1_281_167, 'val': 50_000}
# Fewest and most images of a class.
PER_CLASS = {'train': (732, 1300), 'val': (50, 50)}

_WNID = re.compile(r'(?<![A-Za-z0-9])n\d{8}(?!\d)')


@dataclass
class Split:
    """The images of ``train`` or ``val``.

    Attributes:
        name: ``'train'`` or ``'val'``.
        folder: What the paths are relative to.
        source: The folder or the list file that was read.
        samples: Path and label of each image, in the order of training.
        folders: The class folders in the order of their labels; None if a
            list file names the labels.
    """

    name: str
    folder: Path
    source: Path
    samples: list[tuple[str, int]]
    folders: list[str] | None = None

    def class_name(self, path: str, label: int) -> str:
        """The WordNet number (or folder) that a sample belongs to."""
        if self.folders is not None:
            return self.folders[label]
        wnid = wnid_in(path)
        if wnid:
            return wnid
        return WNIDS[label] if 0 <= label < len(WNIDS) else str(label)

    def class_sizes(self) -> Counter[str]:
        """The number of images of each class, also of empty folders."""
        sizes = Counter(dict.fromkeys(self.folders or (), 0))
        sizes.update(self.class_name(*sample) for sample in self.samples)
        return sizes


def wnid_in(path: str) -> str | None:
    """The last WordNet number in a path, if it holds one of ImageNet's."""
    found = [wnid for wnid in _WNID.findall(path) if wnid in LABELS]
    return found[-1] if found else None


def read_split(
    root: Path,
    name: str,
    ann_file: Path | None = None,
    folders_only: bool = False,
) -> Split:
    """Find the images and labels of a split as ``mmcae.ImageNet`` does.

    Args:
        root: The folder that holds ``train/``, ``val/`` and perhaps
            ``meta/``.
        name: ``'train'`` or ``'val'``.
        ann_file: A list file, relative to ``root``, to read instead of
            ``meta/<name>.txt``. Without either, class folders are read.
        folders_only: Whether to read class folders in any case.

    Raises:
        FileNotFoundError: If the folder or the list file is missing.
        ValueError: If a line of the list is not "path label".
    """
    folder = root / name
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is not a folder')
    usual = root / 'meta' / f'{name}.txt'
    if ann_file is None and usual.is_file():
        ann_file = usual
    if ann_file is not None and not folders_only:
        source = root / ann_file
        return Split(name, folder, source, read_list(source))
    folders, labels = find_folders(str(folder))
    samples, _ = get_samples(str(folder), labels, is_image)
    return Split(name, folder, folder, samples, folders)


def flat_images(folder: Path) -> list[str]:
    """The names of the images that lie in the folder itself, sorted."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith('.')
            and is_image(entry.name)
            and entry.is_file()
        )


def explain_empty(split: Split) -> str:
    """Why a split without samples has none."""
    if split.folders is None:
        return f'{split.source} lists no image'
    if not flat_images(split.folder):
        return f'there is no image in {split.folder}'
    return (
        f'the images in {split.folder} are not in class folders, and there '
        f'is no meta/{split.name}.txt: `imagenet.py lists` writes it'
    )


def is_image(name: str) -> bool:
    """Whether training takes a file of this name for an image."""
    return name.lower().endswith(ImageNet.IMG_EXTENSIONS)


def read_list(path: Path) -> list[tuple[str, int]]:
    """Read a list file, lines of "path label".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is something else; names it.
    """
    samples = []
    with open(path, encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            name, _, label = line.strip().rpartition(' ')
            if not name or not label.isdecimal():
                raise ValueError(
                    f"{path}, line {number}: expected 'path label', got "
                    f'{line.strip()!r}'
                )
            samples.append((name, int(label)))
    return samples


def write_list(path: Path, samples: list[tuple[str, int]]) -> None:
    """Write a list file; one that is there is only replaced by its equal.

    Raises:
        FileExistsError: If there is a file with other lines.
    """
    data = ''.join(f'{name} {label}\n' for name, label in samples).encode()
    if path.exists():
        if path.read_bytes() == data:
            return
        raise FileExistsError(
            f'{path} exists and has other lines: remove it or choose another '
            'name with --out'
        )
    with atomic_write(path) as file:
        file.write(data)
