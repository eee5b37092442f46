# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Small image folders."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def photos(tmp_path):
    """Eleven smooth RGB images of different sizes, in nested folders."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'photos'
    for i in range(11):
        folder = root / f'part{i % 3}' / 'deep'
        folder.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        img = Image.fromarray(coarse).resize((60 + i, 50 - i), 3)
        img.save(folder / f'{i:02d}.png')
    return root
