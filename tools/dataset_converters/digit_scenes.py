# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Handwritten digits on photographs, with the place of each.

What the small sets of segmentation (`tiny_ade.py`) and detection
(`tiny_coco.py`) have in common. Digits and photographs are scikit-learn's;
training and validation share neither digits nor parts of the photographs.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from digits import split_indices
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

# Strokes are where the ink covers at least half of a pixel.
STROKE = 0.5
# Share of the width of the photographs for training.
TRAIN_SHARE = 0.75


class Drawn(NamedTuple):
    """A digit in an image.

    Attributes:
        label: Its index among the classes.
        view: Where it lies: rows and columns of a square of side ``S``.
        cover: How far its ink covers each pixel there, ``(S, S)``, 0 to 1.
    """

    label: int
    view: tuple[slice, slice]
    cover: np.ndarray


class Material(NamedTuple):
    """What the images of a split are made from.

    Attributes:
        inks: Digits of each class, ``(N, 8, 8)`` from 0 to 1.
        photographs: Pictures to cut backgrounds from, ``(H, W, 3)`` uint8.
    """

    inks: list[np.ndarray]
    photographs: list[np.ndarray]


def load_material(digits: Sequence[int], is_train: bool) -> Material:
    """The part of digits and photographs that belongs to a split.

    The digits are those of ``digits.py``: an encoder that was pretrained on
    its training images has not seen the ones of validation.
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
    image: np.ndarray, ink: np.ndarray, colour: np.ndarray
) -> np.ndarray:
    """Draw one digit into a square view of an image.

    Args:
        image: The view, ``(S, S, 3)``, floats from 0 to 255; changed.
        ink: The digit, ``(8, 8)``, from 0 to 1.
        colour: Its colour, 3 values from 0 to 255.

    Returns:
        How far the ink covers each pixel, ``(S, S)``, from 0 to 1.
    """
    # A margin, since strokes reach the border of the scanned square.
    picture = Image.fromarray(np.pad(ink, 1).astype(np.float32))
    large = picture.resize(image.shape[:2], Image.Resampling.BICUBIC)
    cover = np.asarray(large).clip(0, 1)
    image += cover[..., None] * (colour - image)
    return cover


def draw_scene(
    rng: np.random.Generator,
    photograph: np.ndarray,
    digits: Sequence[tuple[np.ndarray, int, int]],
    size: tuple[int, int],
) -> tuple[np.ndarray, list[Drawn]]:
    """Compose an image.

    Args:
        rng: Decides on crop, positions and colours.
        photograph: Where the background is cut from, ``(H, W, 3)`` uint8.
        digits: Ink ``(8, 8)``, label and side in pixels, with the margin, of
            each digit to draw.
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
    # One digit in each of equal columns, so that none covers another.
    columns = np.linspace(0, width, len(digits) + 1).astype(int)
    for (ink, label, side), start, stop in zip(
        digits, columns[:-1], columns[1:], strict=True
    ):
        y = int(rng.integers(height - side + 1))
        x = int(rng.integers(start, stop - side + 1))
        view = np.s_[y : y + side, x : x + side]
        # Lighter or darker than what it covers, in any tint.
        light = image[view].mean() < 128
        colour = rng.uniform(*((160, 255) if light else (0, 95)), size=3)
        drawn.append(Drawn(label, view, draw_digit(image[view], ink, colour)))
    return np.round(image).astype(np.uint8), drawn


def check_options(
    digits: Sequence[int],
    size: tuple[int, int],
    digit_size: int,
    per_image: int,
) -> None:
    """Refuse what cannot be drawn.

    Args:
        digits: Which digits occur.
        size: Height and width of the images.
        digit_size: Largest side of a digit.
        per_image: Most digits in an image.

    Raises:
        ValueError: Names the value and what is possible.
    """
    if not digits or not set(digits) <= set(range(10)):
        raise ValueError(f'digits must be from 0 to 9, got {list(digits)}')
    if len(set(digits)) < len(digits):
        raise ValueError(f'digits={list(digits)} names one twice')
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


def refuse_images(root: Path, pattern: str) -> None:
    """Raise ``ValueError`` if there are files that would be mixed in."""
    present = next(root.glob(pattern), None)
    if present is not None:
        raise ValueError(f'{root} has images already ({present.name})')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all sets have."""
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument('--train', type=int, default=256)
    parser.add_argument('--val', type=int, default=32)
    parser.add_argument('--digits', type=int, nargs='+', default=[0, 1, 4, 7])
    parser.add_argument(
        '--size', type=int, nargs=2, default=[96, 128],
        metavar=('HEIGHT', 'WIDTH'),
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=0)


def run_writer(
    parser: argparse.ArgumentParser, write: Callable[..., None]
) -> None:
    """Write a set as the command line says."""
    args = parser.parse_args()
    options = vars(args) | dict(size=tuple(args.size))
    try:
        write(**options)
    except ValueError as error:
        parser.error(str(error))
    print(f'{args.train} + {args.val} images in {args.root}')
