# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a small detection set of real images in COCO's layout.

    python tools/dataset_converters/tiny_coco.py data/tiny-coco

Handwritten digits (scikit-learn's) of several sizes, in random colours, lie
on crops of two photographs (scikit-learn's, too):

    train2017/000000000001.jpg ...    annotations/instances_train2017.json
    val2017/000000000001.jpg ...      annotations/instances_val2017.json

Masks are the drawn strokes, as run-length codes (the hole of a zero has no
polygon); boxes are the masks' extents. Training and validation share neither
digits nor parts of the photographs. The same options and seed give the same
images.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from digit_scenes import (
    STROKE,
    Drawn,
    Material,
    add_arguments,
    check_options,
    draw_scene,
    load_material,
    refuse_images,
    run_writer,
)
from PIL import Image

NAMES = (
    'zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight',
    'nine',
)  # fmt: skip


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's code of a mask: lengths of runs down the columns, zeros first.

    Args:
        mask: ``(H, W)``, bool.
    """
    pixels = np.concatenate([[False], mask.flatten(order='F')])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(changes, prepend=0, append=mask.size).tolist()


def annotation(digit: Drawn, size: tuple[int, int]) -> dict:
    """Category, box, mask and area of a digit in an image of ``size``."""
    mask = np.zeros(size, bool)
    mask[digit.view] = digit.cover >= STROKE
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
    return dict(
        category_id=1 + digit.label,
        bbox=[left, top, width, height],
        segmentation=dict(size=list(size), counts=run_lengths(mask)),
        area=int(mask.sum()),
        iscrowd=0,
    )


def choose_digits(
    rng: np.random.Generator,
    material: Material,
    digit_sizes: tuple[int, int],
    max_per_image: int,
) -> list[tuple[np.ndarray, int, int]]:
    """Ink, label and side of the digits of an image, each at random."""
    number = rng.integers(1, max_per_image, endpoint=True)
    labels = rng.integers(len(material.inks), size=number)
    sides = rng.integers(*digit_sizes, size=number, endpoint=True)
    return [
        (rng.choice(material.inks[label]), int(label), int(side))
        for label, side in zip(labels, sides, strict=True)
    ]


def write_split(
    root: Path,
    split: str,
    count: int,
    digits: Sequence[int],
    size: tuple[int, int],
    digit_sizes: tuple[int, int],
    max_per_image: int,
    seed: int,
) -> None:
    """Write ``SPLIT2017`` and its annotations below ``root``."""
    is_train = split == 'train'
    rng = np.random.default_rng((seed, is_train))
    material = load_material(digits, is_train)
    folder = root / f'{split}2017'
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for image_id in range(1, count + 1):
        chosen = choose_digits(rng, material, digit_sizes, max_per_image)
        photograph = material.photographs[
            rng.integers(len(material.photographs))
        ]
        pixels, drawn = draw_scene(rng, photograph, chosen, size)
        name = f'{image_id:012d}.jpg'
        Image.fromarray(pixels).save(folder / name, quality=95)
        images.append(
            dict(id=image_id, file_name=name, height=size[0], width=size[1])
        )
        for digit in drawn:
            ids = dict(id=len(annotations) + 1, image_id=image_id)
            annotations.append(ids | annotation(digit, size))
    content = dict(
        info=dict(description='digits on photographs (scikit-learn)'),
        images=images,
        annotations=annotations,
        categories=[
            dict(id=1 + label, name=NAMES[number], supercategory='digit')
            for label, number in enumerate(digits)
        ],
    )
    path = root / 'annotations' / f'instances_{split}2017.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), 'utf-8')


def write_tiny_coco(
    root: str | Path,
    train: int = 256,
    val: int = 32,
    digits: Sequence[int] = (0, 1, 4, 7),
    size: tuple[int, int] = (96, 128),
    digit_sizes: tuple[int, int] = (40, 60),
    max_per_image: int = 2,
    seed: int = 0,
) -> None:
    """Write the set below ``root``.

    Args:
        root: A folder, made if missing.
        train: Number of training images.
        val: Number of validation images.
        digits: Which digits occur; each is a category.
        size: Height and width of the images.
        digit_sizes: Smallest and largest side of a digit and its margin in
            pixels.
        max_per_image: Most digits in an image; each number from 1 is as
            frequent.
        seed: Any number.

    Raises:
        ValueError: If digits or sizes are impossible, or the root holds
            images already.
    """
    smallest, largest = digit_sizes
    if not 10 <= smallest <= largest:
        raise ValueError(
            f'digit_sizes={smallest} to {largest}: the smallest is at least '
            '10 and comes first'
        )
    if max_per_image < 1:
        raise ValueError(f'max_per_image must be positive: {max_per_image}')
    check_options(digits, size, largest, max_per_image)
    root = Path(root)
    refuse_images(root, '*2017/*')
    for split, count in (('train', train), ('val', val)):
        write_split(
            root, split, count, digits, size, digit_sizes, max_per_image, seed
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument(
        '--digit-sizes', type=int, nargs=2, default=[40, 60],
        metavar=('MIN', 'MAX'),
    )  # fmt: skip
    parser.add_argument('--max-per-image', type=int, default=2)
    run_writer(parser, write_tiny_coco)


if __name__ == '__main__':
    main()
