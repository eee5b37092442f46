# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Labels of ImageNet's validation images, from the files that state them."""

import re
import tarfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from imagenet_layout import LABELS, WNIDS
from scipy.io import loadmat

_META = 'data/meta.mat'
_TRUTH = 'data/ILSVRC2012_validation_ground_truth.txt'
_IMAGE = re.compile(r'ILSVRC2012_val_(\d{8})')
_WNID = re.compile(r'\bn\d{8}\b')
_LABEL = re.compile(r'\s(\d{1,3})$')


class Devkit(NamedTuple):
    """What the development kit says.

    Attributes:
        val_wnids: The class of each validation image, in their order.
        train_sizes: The number of training images of each class.
    """

    val_wnids: list[str]
    train_sizes: dict[str, int]


def image_number(name: str) -> int:
    """The number of a validation image, from 1, read off its name.

    Raises:
        ValueError: If it is not called ``ILSVRC2012_val_<8 digits>``.
    """
    found = _IMAGE.search(name)
    if not found:
        raise ValueError(
            f"'{name}' is not a validation image's name, "
            'ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00050000.JPEG'
        )
    return int(found[1])


def is_devkit(path: Path) -> bool:
    """Whether a path is the kit (archive or folder), not a text file."""
    return path.is_dir() or path.name.endswith(('.tar.gz', '.tgz', '.tar'))


def read_devkit(path: Path) -> Devkit:
    """Read the kit, unpacked or not. Nothing is written.

    Args:
        path: ``ILSVRC2012_devkit_t12.tar.gz``, or a folder that holds its
            contents.

    Raises:
        FileNotFoundError: If a part is missing.
        ValueError: If it is not the kit of 2012.
    """
    meta, truth = _read_parts(path)
    synsets = np.atleast_1d(loadmat(meta, squeeze_me=True)['synsets'])
    leaves = synsets[synsets['num_children'] == 0]
    wnids = {
        int(number): str(wnid)
        for number, wnid in zip(
            leaves['ILSVRC2012_ID'], leaves['WNID'], strict=True
        )
    }
    strange = sorted(set(wnids.values()) - set(LABELS))
    if strange:
        raise ValueError(
            f'{path} is not the development kit of ILSVRC 2012: '
            f'{strange[0]} is none of its classes'
        )
    sizes = zip(leaves['WNID'], leaves['num_train_images'], strict=True)
    try:
        val_wnids = [wnids[int(number)] for number in truth.split()]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f'{path}: {_TRUTH} holds {error}, expected the number of a class'
        ) from error
    return Devkit(val_wnids, {str(w): int(size) for w, size in sizes})


def _read_parts(path: Path) -> tuple[BytesIO, bytes]:
    if path.is_dir():
        base = path if (path / _META).is_file() else path / path.name
        if not (base / _META).is_file():
            base = path / 'ILSVRC2012_devkit_t12'
        parts = [(base / part).read_bytes() for part in (_META, _TRUTH)]
        return BytesIO(parts[0]), parts[1]
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            for part in (_META, _TRUTH):
                if member.isfile() and f'/{member.name}'.endswith(f'/{part}'):
                    found[part] = archive.extractfile(member).read()
    for part in (_META, _TRUTH):
        if part not in found:
            raise FileNotFoundError(f'there is no {part} in {path}')
    return BytesIO(found[_META]), found[_TRUTH]


def validation_wnids(path: Path) -> dict[int, str]:
    """The class of each validation image.

    Args:
        path: The development kit (archive or folder), or a text file with a
            line for each image: "name label", "name,wnid ..." (Kaggle's
            ``LOC_val_solution.csv``), or the WordNet numbers alone in the
            order of the images.

    Returns:
        WordNet numbers by the image's number, which counts from 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line has no class; the kit's ground truth alone is
            refused, as its numbers are not labels.
    """
    if is_devkit(path):
        return dict(enumerate(read_devkit(path).val_wnids, 1))
    wnids = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith('ImageId,'):  # the header of Kaggle's table
            continue
        wnid = _line_wnid(line)
        if wnid is None:
            hint = (
                "; numbers alone are the development kit's and need its "
                'meta.mat: give the kit itself'
                if line.strip().isdecimal()
                else ''
            )
            raise ValueError(
                f'{path}, line {number}: no class in {line!r}{hint}'
            )
        name = _IMAGE.search(line)
        wnids[int(name[1]) if name else number] = wnid
    return wnids


def _line_wnid(line: str) -> str | None:
    known = [wnid for wnid in _WNID.findall(line) if wnid in LABELS]
    if known:
        return known[0]
    label = _LABEL.search(line)
    if label and _IMAGE.search(line):
        return WNIDS[int(label[1])]
    return None
