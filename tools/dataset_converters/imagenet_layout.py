# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read and write the layouts of ImageNet that training reads."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmpretrain.datasets import ImageNet
from mmpretrain.datasets.custom import find_folders, get_samples

from mmcae.checkpoint.download import atomic_write

# The WordNet IDs of the 1,000 classes in the order of their labels.
WNIDS = Path(__file__).with_name('imagenet_wnids.txt').read_text().split()
LABELS = {wnid: label for label, wnid in enumerate(WNIDS)}
NUM_IMAGES = {'train': 1_281_167, 'val': 50_000}
# The size of the smallest and of the largest class.
PER_CLASS = {'train': (732, 1300), 'val': (50, 50)}

_WNID = re.compile(r'(?<![A-Za-z0-9])n\d{8}(?!\d)')


@dataclass
class Split:
    """The images of ``train`` or ``val``.

    Attributes:
        name: ``'train'`` or ``'val'``.
        folder: The folder that the paths are relative to.
        source: The folder or the list file that was read.
        samples: Path and label of each image, in the order of training.
        folders: The class folders in the order of their labels; None if the
            labels come from a list file.
    """

    name: str
    folder: Path
    source: Path
    samples: list[tuple[str, int]]
    folders: list[str] | None = None

    def class_name(self, path: str, label: int) -> str:
        """Return the WordNet ID (or the folder) of a sample's class."""
        if self.folders is not None:
            return self.folders[label]
        wnid = wnid_in(path)
        if wnid:
            return wnid
        return WNIDS[label] if 0 <= label < len(WNIDS) else str(label)

    def class_sizes(self) -> Counter[str]:
        """Count the images of each class; empty folders count as 0."""
        sizes = Counter(dict.fromkeys(self.folders or (), 0))
        sizes.update(self.class_name(*sample) for sample in self.samples)
        return sizes


def wnid_in(path: str) -> str | None:
    """Return the last WordNet ID of ImageNet in a path, or None."""
    found = [wnid for wnid in _WNID.findall(path) if wnid in LABELS]
    return found[-1] if found else None


def read_split(
    root: Path,
    name: str,
    ann_file: Path | None = None,
    folders_only: bool = False,
) -> Split:
    """Read the images and labels of a split as ``mmcae.ImageNet`` does.

    Args:
        root: The folder that holds ``train/``, ``val/`` and perhaps
            ``meta/``.
        name: ``'train'`` or ``'val'``.
        ann_file: A list file, relative to ``root``, to read instead of
            ``meta/<name>.txt``. If neither exists, class folders are read.
        folders_only: Whether to ignore list files and read class folders.

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
    """Return the sorted names of the images directly in a folder."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith('.')
            and is_image(entry.name)
            and entry.is_file()
        )


def explain_empty(split: Split) -> str:
    """Explain why a split has no samples."""
    if split.folders is None:
        return f'{split.source} lists no images'
    if not flat_images(split.folder):
        return f'there are no images in {split.folder}'
    return (
        f'the images in {split.folder} are not in class folders, and there '
        f'is no meta/{split.name}.txt: `imagenet.py lists` writes it'
    )


def is_image(name: str) -> bool:
    """Return whether training reads a file of this name as an image."""
    return name.lower().endswith(ImageNet.IMG_EXTENSIONS)


def read_list(path: Path) -> list[tuple[str, int]]:
    """Read a list file with lines of "path label".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line has another form; the message names the line.
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
    """Write a list file, and never overwrite one with other lines.

    Raises:
        FileExistsError: If the file exists with other lines.
    """
    data = ''.join(f'{name} {label}\n' for name, label in samples).encode()
    if path.exists():
        if path.read_bytes() == data:
            return
        raise FileExistsError(
            f'{path} exists and has other lines: remove it, or choose '
            'another name with --out'
        )
    with atomic_write(path) as file:
        file.write(data)
