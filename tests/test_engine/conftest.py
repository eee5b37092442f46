# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Images to train on for an epoch or two."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    """Eleven images of different sizes."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'photos'
    root.mkdir()
    for i in range(11):
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        img = Image.fromarray(coarse).resize((60 + i, 50 - i), 3)
        img.save(root / f'{i:02d}.png')
    return root


@pytest.fixture(scope='module')
def class_photos(tmp_path_factory):
    """Eight images in two classes."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp('photos')
    for number in range(8):
        folder = root / 'ab'[number % 2]
        folder.mkdir(exist_ok=True)
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((40, 40), 3)
        image.save(folder / f'{number}.png')
    return root
