# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read the labels of ImageNet's validation images.

torchvision's ``parse_devkit_archive`` is not used: it writes a file beside the
development kit, reads no unpacked kit, and does not return the class sizes.
"""

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
    """Contents of the development kit.

    Attributes:
        val_wnids: The class of each validation image, in the order of the
            images.
        train_sizes: The number of training images of each class.
    """

    val_wnids: list[str]
    train_sizes: dict[str, int]


def image_number(name: str) -> int:
    """Read the number of a validation image, from 1, off its name.

    Raises:
        ValueError: If the name is not ``ILSVRC2012_val_<8 digits>``.
    """
    found = _IMAGE.search(name)
    if not found:
        raise ValueError(
            f"'{name}' is not the name of a validation image: expected "
            'ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00050000.JPEG'
        )
    return int(found[1])


def is_devkit(path: Path) -> bool:
    """Return True for the kit (archive or folder), False for a text file."""
    return path.is_dir() or path.name.endswith(('.tar.gz', '.tgz', '.tar'))


def read_devkit(path: Path) -> Devkit:
    """Read the development kit without writing any file.

    Args:
        path: ``ILSVRC2012_devkit_t12.tar.gz``, or the folder into which it
            was unpacked.

    Raises:
        FileNotFoundError: If a file of the kit is missing.
        ValueError: If it is not the kit of ILSVRC 2012.
    """
    meta, truth = (_read_part(path, part) for part in (_META, _TRUTH))
    content = loadmat(BytesIO(meta), squeeze_me=True)
    synsets = np.atleast_1d(content['synsets'])
    leaves = synsets[synsets['num_children'] == 0]
    wnids = {
        int(number): str(wnid)
        for number, wnid in zip(
            leaves['ILSVRC2012_ID'], leaves['WNID'], strict=True
        )
    }
    unknown = sorted(set(wnids.values()) - set(LABELS))
    if unknown:
        raise ValueError(
            f'{path} is not the development kit of ILSVRC 2012: '
            f'{unknown[0]} is not one of the classes of ILSVRC 2012'
        )
    sizes = zip(leaves['WNID'], leaves['num_train_images'], strict=True)
    try:
        val_wnids = [wnids[int(number)] for number in truth.split()]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f'{path}: {_TRUTH} contains {error}, which is not the number of '
            'a class'
        ) from error
    return Devkit(val_wnids, {str(w): int(size) for w, size in sizes})


def _read_part(kit: Path, part: str) -> bytes:
    if kit.is_dir():
        for path in (*kit.glob(part), *kit.glob(f'*/{part}')):
            return path.read_bytes()
    else:
        with tarfile.open(kit) as archive:
            for member in archive:
                name = f'/{member.name}'
                if member.isfile() and name.endswith(f'/{part}'):
                    return archive.extractfile(member).read()
    raise FileNotFoundError(f'there is no {part} in {kit}')


def validation_wnids(path: Path) -> dict[int, str]:
    """Read the class of each validation image.

    Args:
        path: The development kit (archive or folder), or a text file with
            one line for each image: "name label", "name,wnid ..." (Kaggle's
            ``LOC_val_solution.csv``), or only the WordNet ID, in the order
            of the images.

    Returns:
        The WordNet ID of each image by the image's number, from 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line names no class. The kit's ground truth file
            alone is refused, because its numbers are not labels.
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
                '; plain numbers are those of the development kit and need '
                'its meta.mat: pass the kit itself'
                if line.strip().isdecimal()
                else ''
            )
            raise ValueError(
                f'{path}, line {number}: found no class in {line!r}{hint}'
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
