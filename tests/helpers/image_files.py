# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Image files of many kinds, and random changes of them.

The changes follow from a seed.
"""

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from packaging.version import Version
from PIL import Image

from mmcae.datasets import FolderDataset
from mmcae.datasets.transforms.load_image import (
    LoadImage,
    UnreadableImageError,
)

from .isolation import Peak
from .mutations import mutant

PNG_START = b'\x89PNG\r\n\x1a\n'
#: Format, mode, and options of PIL.
_KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ('JPEG', 'RGB', dict(quality=90)),
    ('JPEG', 'RGB', dict(quality=50, progressive=True, subsampling=2)),
    ('JPEG', 'L', {}),
    ('JPEG', 'CMYK', {}),
    ('PNG', 'RGB', {}),
    ('PNG', 'RGBA', {}),
    ('PNG', 'P', dict(transparency=3)),
    ('PNG', 'I;16', {}),
    ('PNG', '1', {}),
    ('WEBP', 'RGB', dict(lossless=True)),
    ('WEBP', 'RGBA', dict(quality=60)),
    ('WEBP', 'RGB', dict(save_all=True, frames=3)),
    ('TIFF', 'RGB', {}),
    ('TIFF', 'RGB', dict(compression='tiff_lzw')),
    ('TIFF', 'RGB', dict(compression='jpeg')),
    ('TIFF', 'L', dict(compression='tiff_adobe_deflate')),
    ('TIFF', '1', dict(compression='group4')),
    ('TIFF', 'I;16', {}),
    ('GIF', 'P', {}),
    ('GIF', 'P', dict(save_all=True, frames=3)),
    ('BMP', 'RGB', {}),
    ('BMP', 'P', {}),
    ('BMP', '1', {}),
)


def image_files() -> dict[str, bytes]:
    """Make one good file of each kind, 40 pixels wide and 32 high."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((40, 32), Image.Resampling.BICUBIC)
    files = {}
    for form, mode, given in _KINDS:
        options = dict(given)
        if mode == 'I;16':
            wide = np.asarray(photo.convert('L'), dtype=np.uint16) * 257
            image = Image.fromarray(wide)
        else:
            image = photo.convert(mode)
        frames = options.pop('frames', 0)
        if frames:
            options['append_images'] = [image.rotate(90)] * (frames - 1)
        stream = io.BytesIO()
        image.save(stream, form, **options)
        note = ' '.join(f'{key}={value}' for key, value in given.items())
        files[f'{form} {mode} {note}'.strip()] = stream.getvalue()
    return files


def image_mutant(
    content: bytes, others: list[bytes], chance: random.Random
) -> bytes:
    """Change a file: bits, lengths, its end, or parts of other files.

    Args:
        content: The bytes of the file.
        others: Other files, for splices.
        chance: Decides where and how.

    Returns:
        The changed bytes. In some of the changed PNG files, the checksums
        are corrected, so that a decoder gets further.
    """
    kind = chance.randrange(5)
    if kind == 0:  # the sizes of the image and of its parts are in front
        edge = min(len(content), chance.choice((32, 64, 256)))
        changed = mutant(content[:edge], chance) + content[edge:]
    elif kind == 1:
        other = chance.choice(others)
        changed = content[: chance.randrange(len(content))]
        changed += other[chance.randrange(len(other)) :]
    elif kind == 2:
        changed = content[: chance.randrange(len(content))]
    else:
        changed = mutant(content, chance)
    if changed.startswith(PNG_START) and chance.random() < 0.7:
        return _with_checksums(changed)
    return changed


def _with_checksums(content: bytes) -> bytes:
    """Correct the checksum of each chunk of a PNG file."""
    data = bytearray(content)
    start = len(PNG_START)
    while start + 12 <= len(data):
        (size,) = struct.unpack_from('>I', data, start)
        end = start + 8 + size
        if end + 4 > len(data):
            break
        struct.pack_into('>I', data, end, zlib.crc32(data[start + 4 : end]))
        start = end + 4
    return bytes(data)


class MutantLoader:
    """Loads changed files like a training does: dataset, crops and mask.

    A call with a number makes the file of this number and loads it. The
    result is the reason why the file was refused, or '', and the rise of
    memory in bytes.

    Args:
        folder: An empty folder for the file.
    """

    def __init__(self, folder: Path) -> None:
        self.files = list(image_files().values())
        self.path = folder / 'image.jpg'
        self.path.write_bytes(self.files[0])
        self.dataset = FolderDataset(
            str(folder),
            pipeline=[
                dict(type='mmcae.LoadImage'),
                dict(
                    type='mmcae.TwoViewRandomResizedCrop',
                    size=32,
                    second_size=16,
                ),
                dict(
                    type='mmcae.BlockMaskGenerator',
                    input_size=4,
                    num_masking_patches=8,
                    min_num_patches=2,
                ),
                dict(type='mmpretrain.PackInputs'),
            ],
            test_mode=True,  # an unreadable file is an error
        )

    def __call__(self, number: int) -> tuple[str, int]:
        content = self.files[number % len(self.files)]
        chance = random.Random(number)
        content = image_mutant(content, self.files, chance)
        self.path.write_bytes(content)
        peak = Peak()
        try:
            sample = self.dataset[0]
        except UnreadableImageError as error:
            return error.reason_shown, peak.rise()
        shapes = [tuple(view.shape) for view in sample['inputs']]
        assert shapes == [(3, 32, 32), (3, 16, 16)]
        slow, fast = (
            LoadImage(backend=name).load(str(self.path))
            for name in ('pil', 'fast')
        )
        # Both read TIFF with Pillow. Before version 13 it does not clear the
        # rows of a damaged fax image, so no two calls give the same pixels.
        is_tiff = content[:4] in (b'II*\0', b'MM\0*')
        if not is_tiff or Version(PIL.__version__) >= Version('13'):
            assert np.array_equal(slow, fast)
        return '', peak.rise()
