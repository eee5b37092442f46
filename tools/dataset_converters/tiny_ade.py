# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a small segmentation set of real images in ADE20K's layout.

    python tools/dataset_converters/tiny_ade.py data/tiny-ade

Handwritten digits (scikit-learn's) in random colours lie on crops of two
photographs (scikit-learn's, too). The label map follows the drawn strokes:

    0       not labelled: the soft edges of the strokes
    1       the photograph
    2, ...  the digits, in the order of --digits

Training and validation share neither digits nor parts of the photographs.
The same options and seed give the same images.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

# A stroke begins where the ink covers half; below a tenth it is photograph.
STROKE, PHOTOGRAPH = 0.5, 0.1
# Share of the digits, and of the width of the photographs, for training.
TRAIN_SHARE = 0.75


def place_digit(
    image: np.ndarray,
    labels: np.ndarray,
    ink: np.ndarray,
    label: int,
    colour: np.ndarray,
) -> None:
    """Draw one digit into a square view of an image and its label map.

    Args:
        image: The view, ``(S, S, 3)``, floats from 0 to 255; changed.
        labels: The view of the label map, ``(S, S)``; changed.
        ink: The digit, ``(8, 8)``, from 0 to 1.
        label: Its label.
        colour: Its colour, 3 values from 0 to 255.
    """
    # A margin, since strokes reach the border of the scanned square.
    picture = Image.fromarray(np.pad(ink, 1).astype(np.float32))
    large = picture.resize(labels.shape, Image.Resampling.BICUBIC)
    cover = np.asarray(large).clip(0, 1)
    image += cover[..., None] * (colour - image)
    labels[cover >= PHOTOGRAPH] = 0
    labels[cover >= STROKE] = label


def make_image(
    rng: np.random.Generator,
    photograph: np.ndarray,
    digits: list[tuple[np.ndarray, int]],
    size: tuple[int, int],
    digit_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Compose an image.

    Args:
        rng: Decides on crop, positions and colours.
        photograph: Where the background is cut from, ``(H, W, 3)`` uint8.
        digits: Ink ``(8, 8)`` and label of each digit to draw.
        size: Height and width of the image.
        digit_size: Side of a digit and its margin in pixels.

    Returns:
        The image, ``(h, w, 3)`` uint8, and its label map, ``(h, w)`` uint8.
    """
    height, width = size
    top = rng.integers(photograph.shape[0] - height + 1)
    left = rng.integers(photograph.shape[1] - width + 1)
    crop = photograph[top : top + height, left : left + width]
    image = crop.astype(np.float32)
    labels = np.ones(size, np.uint8)
    # One digit in each of equal columns, so that none covers another.
    columns = np.linspace(0, width, len(digits) + 1).astype(int)
    for (ink, label), start, stop in zip(
        digits, columns[:-1], columns[1:], strict=True
    ):
        y = rng.integers(height - digit_size + 1)
        x = rng.integers(start, stop - digit_size + 1)
        view = np.s_[y : y + digit_size, x : x + digit_size]
        # Lighter or darker than what it covers, in any tint.
        light = image[view].mean() < 128
        colour = rng.uniform(*((160, 255) if light else (0, 95)), size=3)
        place_digit(image[view], labels[view], ink, label, colour)
    return np.round(image).astype(np.uint8), labels


def write_split(
    root: Path,
    split: str,
    count: int,
    classes: list[int],
    size: tuple[int, int],
    digit_size: int,
    per_image: int,
    seed: int,
) -> None:
    """Write ``images/SPLIT`` and ``annotations/SPLIT`` below ``root``."""
    is_train = split == 'training'
    rng = np.random.default_rng((seed, is_train))
    digits = load_digits()
    inks = {}
    for number in classes:
        found = digits.images[digits.target == number] / 16
        border = int(TRAIN_SHARE * len(found))
        inks[number] = found[:border] if is_train else found[border:]
    photographs = []
    for pixels in load_sample_images().images:
        border = int(TRAIN_SHARE * pixels.shape[1])
        part = pixels[:, :border] if is_train else pixels[:, border:]
        photographs.append(part)
    for folder in ('images', 'annotations'):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        numbers = rng.choice(
            classes, per_image, replace=per_image > len(classes)
        )
        drawn = [
            (rng.choice(inks[number]), 2 + classes.index(number))
            for number in numbers
        ]
        photograph = photographs[rng.integers(len(photographs))]
        image, labels = make_image(rng, photograph, drawn, size, digit_size)
        name = f'tiny_{split}_{index:05d}'
        Image.fromarray(image).save(
            root / 'images' / split / f'{name}.jpg', quality=95
        )
        Image.fromarray(labels).save(
            root / 'annotations' / split / f'{name}.png'
        )


def write_tiny_ade(
    root: str | Path,
    train: int = 256,
    val: int = 32,
    digits: tuple[int, ...] = (0, 1, 4, 7),
    size: tuple[int, int] = (96, 128),
    digit_size: int = 60,
    per_image: int = 2,
    seed: int = 0,
) -> None:
    """Write the set below ``root``.

    Args:
        root: A folder, made if missing.
        train: Number of training images.
        val: Number of validation images.
        digits: Which digits occur; each is a class.
        size: Height and width of the images.
        digit_size: Side of a digit and its margin in pixels.
        per_image: Digits in an image, side by side.
        seed: Any number.

    Raises:
        ValueError: If digits or size are impossible, or the root holds
            images already.
    """
    classes = list(digits)
    if not classes or not set(classes) <= set(range(10)):
        raise ValueError(f'digits must be from 0 to 9, got {classes}')
    if len(set(classes)) < len(classes):
        raise ValueError(f'digits={classes} names one twice')
    height, width = size
    if digit_size > height or per_image * digit_size > width:
        raise ValueError(
            f'{per_image} digits of {digit_size} pixels do not fit into '
            f'{height} x {width}'
        )
    # The part for validation is the smaller one.
    full_height, full_width = load_sample_images().images[0].shape[:2]
    room = full_width - int(TRAIN_SHARE * full_width)
    if height > full_height or width > room:
        raise ValueError(
            f'size={height} x {width}: the photographs have room for at most '
            f'{full_height} x {room}'
        )
    root = Path(root)
    present = next(root.glob('images/*/*'), None)
    if present is not None:
        raise ValueError(f'{root} has images already ({present.name})')
    for split, count in (('training', train), ('validation', val)):
        write_split(
            root, split, count, classes, size, digit_size, per_image, seed
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument('--train', type=int, default=256)
    parser.add_argument('--val', type=int, default=32)
    parser.add_argument('--digits', type=int, nargs='+', default=[0, 1, 4, 7])
    parser.add_argument(
        '--size', type=int, nargs=2, default=[96, 128],
        metavar=('HEIGHT', 'WIDTH'),
    )  # fmt: skip
    parser.add_argument('--digit-size', type=int, default=60)
    parser.add_argument('--per-image', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    options = vars(args) | dict(size=tuple(args.size))
    try:
        write_tiny_ade(**options)
    except ValueError as error:
        parser.error(str(error))
    print(f'{args.train} + {args.val} images in {args.root}')


if __name__ == '__main__':
    main()
