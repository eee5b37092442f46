# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a small segmentation dataset of real images in ADE20K's layout.

    python tools/dataset_converters/tiny_ade.py data/tiny-ade

Handwritten digits of random colors are drawn on crops of two photographs. Both
come with scikit-learn. The label map follows the strokes:

    0       not labeled: the soft edges of the strokes
    1       the photograph
    2, ...  the digits, in the order of --digits

Training and validation share neither digits nor parts of the photographs.
The same options and seed give the same images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from digit_scenes import (
    STROKE,
    Drawn,
    add_arguments,
    check_options,
    draw_scene,
    load_material,
    refuse_images,
    run_writer,
)
from PIL import Image

# A pixel with less ink than this belongs to the photograph.
PHOTOGRAPH = 0.1


def label_map(drawn: Sequence[Drawn], size: tuple[int, int]) -> np.ndarray:
    """Return the label of each pixel, ``(H, W)`` uint8."""
    labels = np.ones(size, np.uint8)
    for digit in drawn:
        view = labels[digit.view]
        view[digit.cover >= PHOTOGRAPH] = 0
        view[digit.cover >= STROKE] = 2 + digit.label
    return labels


def write_split(
    root: Path,
    split: str,
    count: int,
    digits: Sequence[int],
    size: tuple[int, int],
    digit_size: int,
    per_image: int,
    seed: int,
) -> None:
    """Write ``images/SPLIT`` and ``annotations/SPLIT`` below ``root``."""
    is_train = split == 'training'
    rng = np.random.default_rng((seed, is_train))
    inks, photographs = load_material(digits, is_train)
    for folder in ('images', 'annotations'):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        labels = rng.choice(
            len(digits), per_image, replace=per_image > len(digits)
        )
        chosen = [
            (rng.choice(inks[label]), int(label), digit_size)
            for label in labels
        ]
        photograph = photographs[rng.integers(len(photographs))]
        image, drawn = draw_scene(rng, photograph, chosen, size)
        name = f'tiny_{split}_{index:05d}'
        Image.fromarray(image).save(
            root / 'images' / split / f'{name}.jpg', quality=95
        )
        Image.fromarray(label_map(drawn, size)).save(
            root / 'annotations' / split / f'{name}.png'
        )


def write_tiny_ade(
    root: str | Path,
    train: int = 256,
    val: int = 32,
    digits: Sequence[int] = (0, 1, 4, 7),
    size: tuple[int, int] = (96, 128),
    digit_size: int = 60,
    per_image: int = 2,
    seed: int = 0,
) -> None:
    """Write the dataset below ``root``.

    Args:
        root: The folder to write to; it is created if it is missing.
        train: Number of training images.
        val: Number of validation images.
        digits: The digits that occur; each is a class.
        size: Height and width of the images in pixels.
        digit_size: Side of a digit with its margin, in pixels.
        per_image: Number of digits in an image, side by side.
        seed: Random seed.

    Raises:
        ValueError: If digits or size are impossible, or the root has images
            already.
    """
    check_options(digits, size, digit_size, per_image)
    root = Path(root)
    refuse_images(root, 'images/*/*')
    for split, count in (('training', train), ('validation', val)):
        write_split(
            root, split, count, digits, size, digit_size, per_image, seed
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument(
        '--digit-size',
        type=int,
        default=60,
        help='side of a digit with its margin, in pixels (default: 60)',
    )
    parser.add_argument(
        '--per-image',
        type=int,
        default=2,
        help='number of digits in an image (default: 2)',
    )
    run_writer(parser, write_tiny_ade)


if __name__ == '__main__':
    main()
