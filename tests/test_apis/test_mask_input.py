# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Masks that users give: ratios, boxes, arrays, painted pictures."""

import numpy as np
import pytest
from PIL import Image

from mmcae.apis.image_views import Placement
from mmcae.apis.mask_input import read_mask

# An image of 80 x 60 pixels, of which the central 60 x 60 are seen at 32 px.
PLACE = Placement(box=(0, 10, 60, 60), size=(32, 32), grid=(4, 4))
SIZE = (60, 80)


def read(mask, **kwargs):
    return read_mask(mask, PLACE, SIZE, **kwargs)


@pytest.mark.parametrize('kind', ['block', 'random'])
def test_ratio__masks_that_share_and_depends_on_the_seed(kind):
    assert read(0.25, kind=kind).sum() == 4
    assert read(None, kind=kind).sum() == 8
    first, again, other = (read(0.5, kind=kind, seed=s) for s in (0, 0, 3))
    assert (first == again).all()
    assert (first != other).any()
    assert read(0.001, kind=kind).sum() == 1
    assert read(0.999, kind=kind).sum() == 15


def test_box__masks_every_patch_that_it_touches():
    # Patches are 15 pixels wide; columns begin at 10, 25, 40, 55.
    mask = read((25, 0, 41, 15))
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 2]]
    assert read([0, 0, 10.5, 1]).sum() == 1


@pytest.mark.parametrize('kind', ['grid', 'flat', 'list'])
def test_array__of_the_grid_is_taken_as_it_is(kind):
    expected = np.eye(4, dtype=bool)
    given = dict(grid=expected, flat=expected.ravel().astype(int))
    given['list'] = expected.tolist()
    assert (read(given[kind]) == expected).all()


def test_painted__masks_every_patch_with_a_painted_pixel(tmp_path):
    pixels = np.zeros(SIZE, dtype=np.uint8)
    pixels[14:16, 27] = 255  # the last row of patch 0 and the first of 1
    pixels[:, :10] = 255  # cut off
    expected = [[0, 1], [1, 1]]
    Image.fromarray(pixels).save(tmp_path / 'mask.png')
    transparent = np.zeros((*SIZE, 4), dtype=np.uint8)
    transparent[..., 3] = pixels
    for mask in (
        pixels,
        pixels > 0,
        Image.fromarray(pixels),
        Image.fromarray(transparent),
        tmp_path / 'mask.png',
        str(tmp_path / 'mask.png'),
    ):
        assert np.argwhere(read(mask)).tolist() == expected
    view = np.zeros((32, 32), dtype=bool)
    view[8, 31] = True
    assert np.argwhere(read(view)).tolist() == [[1, 3]]


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (0.0, 'between 0 and 1, got 0'),
        (1.5, 'got 1.5'),
        ((0, 0, 81, 5), '80 pixels wide and 60 high'),
        ((-1, 0, 8, 5), r'the box \(-1, 0, 8, 5\)'),
        ((8, 0, 8, 5), 'left, top, right, bottom'),
        ((0, 0, 9, 9), 'cut off'),
        ((0, 0, 80, 60), 'masks all of the 16 patches'),
        (np.zeros((4, 4), bool), 'masks none of the 16 patches'),
        (np.ones((5, 5), bool), 'mask of 5 x 5 does not fit.*4 x 4, 32 x 32'),
        (np.ones((3, 4, 4), bool), 'mask of 3 x 4 x 4'),
    ],
)
def test_masks_that_do_not_fit__say_so(mask, message):
    with pytest.raises(ValueError, match=message):
        read(mask)


def test_mask_files__that_cannot_be_read_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match='is not there'):
        read(tmp_path / 'nowhere.png')
    (tmp_path / 'text.png').write_text('text')
    with pytest.raises(ValueError, match='not a picture'):
        read(tmp_path / 'text.png')
    with pytest.raises(ValueError, match="got 'stripes'"):
        read(0.5, kind='stripes')
