# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Strips of small pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from mmcae.visualization import picture_strip, png_of


def test_picture_strip__each_picture_has_its_place():
    grays = np.linspace(0.1, 0.9, 6).reshape(2, 3, 1, 1, 1)
    images = np.broadcast_to(grays, (2, 3, 4, 8, 3))
    strip = picture_strip({'': images[0], ' ': images[1]})
    pixels = np.asarray(Image.open(io.BytesIO(png_of(strip))))
    assert pixels.shape == (strip.height, strip.width, 3)
    for row in range(2):
        for column in range(3):
            gray = round(255 * grays[row, column].item())
            ys, xs = np.nonzero((pixels == gray).all(-1))
            height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
            assert len(ys) == height * width > 3000  # one full rectangle
            assert width == pytest.approx(2 * height, abs=2)
    named = picture_strip({'name': images[0], ' ': images[1]})
    more = named.width - strip.width
    assert more > 20
    assert (np.asarray(named)[:, :more] < 100).any()  # letters


def test_picture_strip__patches_stay_sharp_and_large_ones_are_averaged():
    board = np.indices((4, 4)).sum(0) % 2
    small = np.repeat(board[None, ..., None], 3, -1).astype(float)
    assert set(np.unique(np.asarray(picture_strip({'': small})))) == {0, 255}
    large = (np.indices((420, 420)).sum(0) % 2)[None, ..., None]
    strip = np.asarray(picture_strip({'': large.repeat(3, -1)}))
    middle = strip[strip.shape[0] // 2, strip.shape[1] // 2]
    assert middle == pytest.approx(127.5, abs=2)


def test_picture_strip__clips_and_refuses():
    beyond = np.full((1, 4, 4, 3), 2.0)
    assert np.asarray(picture_strip({'': beyond})).min() == 255
    with pytest.raises(ValueError, match='got no row'):
        picture_strip({})
    with pytest.raises(ValueError, match=r'got \[1, 2\]'):
        picture_strip({'a': beyond, 'b': np.concatenate([beyond, beyond])})
