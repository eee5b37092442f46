# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a small detection dataset of real images in COCO's layout.

    python tools/dataset_converters/tiny_coco.py data/tiny-coco

Handwritten digits of several sizes and random colors are drawn on crops of two
photographs. Both come with scikit-learn. The files are:

    train2017/000000000001.jpg ...    annotations/instances_train2017.json
    val2017/000000000001.jpg ...      annotations/instances_val2017.json

Masks are the strokes, stored as run-length codes because polygons cannot
express the hole of a zero. Boxes are the bounding boxes of the masks. Training
and validation share neither digits nor parts of the photographs. The same
options and seed give the same images.
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

NAMES = [
    'zero',
    'one',
    'two',
    'three',
    'four',
    'five',
    'six',
    'seven',
    'eight',
    'nine',
]


def run_lengths(mask: np.ndarray) -> list[int]:
    """Encode a mask as COCO does: lengths of runs, beginning with zeros.

    Args:
        mask: ``(H, W)``, bool. The runs follow its columns.
    """
    pixels = np.concatenate([[False], mask.flatten(order='F')])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(changes, prepend=0, append=mask.size).tolist()


def annotation(digit: Drawn, size: tuple[int, int]) -> dict:
    """Return the category, box, mask and area of a digit."""
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
    """Draw the ink, label and side of each digit of an image at random."""
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
    """Write the dataset below ``root``.

    Args:
        root: The folder to write to; it is created if it is missing.
        train: Number of training images.
        val: Number of validation images.
        digits: The digits that occur; each is a category.
        size: Height and width of the images in pixels.
        digit_sizes: Smallest and largest side of a digit with its margin, in
            pixels.
        max_per_image: Largest number of digits in an image; all numbers
            from 1 are equally frequent.
        seed: Random seed.

    Raises:
        ValueError: If digits or sizes are impossible, or the root has images
            already.
    """
    smallest, largest = digit_sizes
    if not 10 <= smallest <= largest:
        raise ValueError(
            f'digit_sizes={smallest} {largest}: give the smallest size, at '
            'least 10, and then the largest'
        )
    if max_per_image < 1:
        raise ValueError(f'max_per_image={max_per_image} must be positive')
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
        '--digit-sizes',
        type=int,
        nargs=2,
        default=[40, 60],
        metavar=('MIN', 'MAX'),
        help='smallest and largest side of a digit with its margin, in pixels '
        '(default: 40 60)',
    )
    parser.add_argument(
        '--max-per-image',
        type=int,
        default=2,
        help='largest number of digits in an image (default: 2)',
    )
    run_writer(parser, write_tiny_coco)


if __name__ == '__main__':
    main()
