# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pictures that are there without an upload and without a network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

#: Drawings of the test set that the packaged emoji model has not seen.
EMOJI = Path(__file__).parent / 'examples'
#: Examples of the user's folder.
MAX_OF_FOLDER = 8
#: The digits that `tools/dataset_converters/digits.py` keeps for tests begin
#: here in its permutation.
_FIRST_TEST_DIGIT = 1400
_NUM_DIGITS = 6


@dataclass(frozen=True)
class Example:
    """A picture to choose.

    Attributes:
        path: The file.
        name: What it is called on the page.
    """

    path: str
    name: str


def find_examples(
    folder: Path, trained_on: str = '', own: Sequence[str] = ()
) -> list[Example]:
    """Collect pictures to choose.

    Args:
        folder: Where pictures that must be written go.
        trained_on: Where the training images of the model were. The kind of
            pictures that it names comes first.
        own: Images of the user's folder; some of them come before all others.

    Returns:
        Eight images of the user's folder, ten emoji, six digits and two
        photographs.
    """
    sets = {
        'emoji': list(_emoji()),
        'digits': list(_digits(folder)),
        'photographs': list(_photographs()),
    }
    known = [name for name in sets if name in trained_on.lower()]
    order = [*known, *('photographs', 'emoji', 'digits')]
    step = max(1, -(-len(own) // MAX_OF_FOLDER))
    chosen = [Example(path, Path(path).stem) for path in own[::step]]
    for name in dict.fromkeys(order):
        chosen += sets[name]
    return chosen


def _emoji() -> Iterator[Example]:
    for path in sorted(EMOJI.glob('*.png')):
        yield Example(str(path), path.stem)


def _digits(folder: Path) -> Iterator[Example]:
    """Write test digits of scikit-learn as files."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    for index in order[_FIRST_TEST_DIGIT:][:_NUM_DIGITS]:
        pixels = np.round(digits.images[index] * (255 / 16)).astype(np.uint8)
        path = folder / f'digit_{index}.png'
        Image.fromarray(pixels).save(path)
        yield Example(str(path), f'digit {digits.target[index]}')


def _photographs() -> Iterator[Example]:
    """The photographs that scikit-learn brings."""
    for name in ('china', 'flower'):
        path = Path(str(files('sklearn.datasets'))) / 'images' / f'{name}.jpg'
        if path.is_file():
            yield Example(str(path), name)
