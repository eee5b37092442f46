# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Figures: what is drawn, not how it looks."""

import io

import numpy as np
import pytest
from PIL import Image

from mmcae.visualization import (
    curves,
    hide_patches,
    paint_masked,
    picture_table,
    to_png,
)


def test_paint_masked__paints_whole_patches():
    images = np.zeros((1, 4, 6, 3))
    mask = np.array([[[True, False, False], [False, False, True]]])
    painted = paint_masked(images, mask, gray=0.5)
    expected = np.zeros((4, 6))
    expected[:2, :2] = expected[2:, 4:] = 0.5
    np.testing.assert_array_equal(painted[0, ..., 0], expected)
    assert images.max() == 0


def test_hide_patches__is_the_former_name():
    images, mask = np.ones((1, 4, 4, 3)), np.eye(2, dtype=bool)[None]
    with pytest.warns(DeprecationWarning, match='paint_masked'):
        former = hide_patches(images, mask, color=0.5)
    np.testing.assert_array_equal(former, paint_masked(images, mask, 0.5))


def test_picture_table__has_a_labelled_row_for_each_kind():
    images = np.random.default_rng(0).random((3, 8, 8, 3))
    figure = picture_table({'image': images, 'mask': 1 - images})
    assert len(figure.axes) == 6
    assert figure.axes[0].get_ylabel() == 'image'
    drawn = figure.axes[4].images[0].get_array()
    np.testing.assert_array_equal(drawn, 1 - images[1])


def test_curves__draws_each_run_and_skips_what_was_not_logged():
    runs = [
        [dict(step=1, a=3.0), dict(step=2, a=2.0, b=1.0)],
        [dict(step=1, a=4.0)],
    ]
    figure = curves(runs, {'one': ['a'], 'two': ['b']})
    first, second = figure.axes
    assert [list(line.get_ydata()) for line in first.lines] == [[3, 2], [4]]
    assert [list(line.get_xdata()) for line in second.lines] == [[2]]


def test_to_png__is_an_image():
    png = to_png(curves([[dict(step=1, a=1.0)]], {'t': ['a']}))
    assert Image.open(io.BytesIO(png)).format == 'PNG'
