# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Draw handwritten digits on photographs, and return their positions.

The small datasets of segmentation (`tiny_ade.py`) and of detection
(`tiny_coco.py`) share this code. Digits and photographs come with
scikit-learn. Training and validation share neither digits nor parts of the
photographs.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from digits import split_indices
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

# A pixel belongs to a stroke if the ink covers at least half of it.
STROKE = 0.5
# Left part of each photograph that is used for training.
TRAIN_SHARE = 0.75


class Drawn(NamedTuple):
    """A digit in an image.

    Attributes:
        label: Index of its class.
        view: Rows and columns of the square of side ``S`` that it fills.
        cover: Share of each pixel of this square that is covered by ink,
            ``(S, S)``, from 0 to 1.
    """

    label: int
    view: tuple[slice, slice]
    cover: np.ndarray


class Material(NamedTuple):
    """The digits and photographs of a split.

    Attributes:
        inks: For each class, its digits, ``(N, 8, 8)`` from 0 to 1.
        photographs: Photographs for backgrounds, ``(H, W, 3)`` uint8.
    """

    inks: list[np.ndarray]
    photographs: list[np.ndarray]


def load_material(digits: Sequence[int], is_train: bool) -> Material:
    """Load the digits and the parts of the photographs of a split.

    The split of the digits is that of ``digits.py``, so an encoder that was
    pretrained on its training images has not seen the validation digits.

    Args:
        digits: The digits to load; each is a class.
        is_train: Whether to load the training split.
    """
    scans = load_digits()
    part = split_indices()['train' if is_train else 'test']
    pixels, labels = scans.images[part] / 16, scans.target[part]
    inks = [pixels[labels == number] for number in digits]
    photographs = []
    for photograph in load_sample_images().images:
        border = int(TRAIN_SHARE * photograph.shape[1])
        side = np.s_[:border] if is_train else np.s_[border:]
        photographs.append(photograph[:, side])
    return Material(inks, photographs)


def draw_digit(
    image: np.ndarray, ink: np.ndarray, color: np.ndarray
) -> np.ndarray:
    """Draw one digit into a square view of an image.

    Args:
        image: The view, ``(S, S, 3)``, floats from 0 to 255. It is changed
            in place.
        ink: The digit, ``(8, 8)``, from 0 to 1.
        color: The color of the digit, 3 values from 0 to 255.

    Returns:
        Share of each pixel that is covered by ink, ``(S, S)``, from 0 to 1.
    """
    # Add a margin, because strokes reach the border of the scanned square.
    picture = Image.fromarray(np.pad(ink, 1).astype(np.float32))
    large = picture.resize(image.shape[:2], Image.Resampling.BICUBIC)
    cover = np.asarray(large).clip(0, 1)
    image += cover[..., None] * (color - image)
    return cover


def draw_scene(
    rng: np.random.Generator,
    photograph: np.ndarray,
    digits: Sequence[tuple[np.ndarray, int, int]],
    size: tuple[int, int],
) -> tuple[np.ndarray, list[Drawn]]:
    """Compose an image.

    Args:
        rng: Generator of the crop, the positions and the colors.
        photograph: The photograph to crop, ``(H, W, 3)`` uint8.
        digits: For each digit, its ink ``(8, 8)``, its label and its side in
            pixels including the margin.
        size: Height and width of the image.

    Returns:
        The image, ``(h, w, 3)`` uint8, and the digits from left to right.
    """
    height, width = size
    top = rng.integers(photograph.shape[0] - height + 1)
    left = rng.integers(photograph.shape[1] - width + 1)
    crop = photograph[top : top + height, left : left + width]
    image = crop.astype(np.float32)
    drawn = []
    # Each digit gets a column of its own, so that no digit covers another.
    columns = np.linspace(0, width, len(digits) + 1).astype(int)
    for (ink, label, side), start, stop in zip(
        digits, columns[:-1], columns[1:], strict=True
    ):
        y = int(rng.integers(height - side + 1))
        x = int(rng.integers(start, stop - side + 1))
        view = np.s_[y : y + side, x : x + side]
        # The color is random, but lighter or darker than the background.
        light = image[view].mean() < 128
        color = rng.uniform(*((160, 255) if light else (0, 95)), size=3)
        drawn.append(Drawn(label, view, draw_digit(image[view], ink, color)))
    return np.round(image).astype(np.uint8), drawn


def check_options(
    digits: Sequence[int],
    size: tuple[int, int],
    digit_size: int,
    per_image: int,
) -> None:
    """Refuse options with which no image can be drawn.

    Args:
        digits: The digits that occur.
        size: Height and width of the images in pixels.
        digit_size: Largest side of a digit in pixels.
        per_image: Largest number of digits in an image.

    Raises:
        ValueError: If an option is impossible; the message says why.
    """
    if not digits or not set(digits) <= set(range(10)):
        raise ValueError(f'digits must be from 0 to 9, got {list(digits)}')
    if len(set(digits)) < len(digits):
        raise ValueError(f'digits={list(digits)} contains a digit twice')
    height, width = size
    if digit_size > height or per_image * digit_size > width:
        raise ValueError(
            f'{per_image} digits of {digit_size} pixels do not fit into '
            f'{height} x {width}'
        )
    # The part of a photograph for validation is the smaller one.
    full_height, full_width = load_sample_images().images[0].shape[:2]
    room = full_width - int(TRAIN_SHARE * full_width)
    if height > full_height or width > room:
        raise ValueError(
            f'size={height} x {width}: the photographs have room for at most '
            f'{full_height} x {room}'
        )


def refuse_images(root: Path, pattern: str) -> None:
    """Raise ``ValueError`` if the root already has images."""
    present = next(root.glob(pattern), None)
    if present is not None:
        raise ValueError(
            f'{root} has images already ({present.name}): choose another '
            'folder'
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all of these datasets have."""
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument(
        '--train', type=int, default=256, help='training images (default: 256)'
    )
    parser.add_argument(
        '--val', type=int, default=32, help='validation images (default: 32)'
    )
    parser.add_argument(
        '--digits',
        type=int,
        nargs='+',
        default=[0, 1, 4, 7],
        help='digits that occur; each is a class (default: 0 1 4 7)',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=[96, 128],
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the images in pixels (default: 96 128)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='random seed (default: 0)'
    )


def run_writer(
    parser: argparse.ArgumentParser, write: Callable[..., None]
) -> None:
    """Parse the command line, and write the dataset."""
    args = parser.parse_args()
    options = vars(args) | dict(size=tuple(args.size))
    try:
        write(**options)
    except ValueError as error:
        parser.error(str(error))
    print(f'{args.train} + {args.val} images in {args.root}')
