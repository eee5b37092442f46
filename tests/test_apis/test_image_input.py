# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Images that users give: paths, PIL images, arrays."""

import numpy as np
import pytest
from PIL import Image

from mmcae.apis.image_input import find_paths, read_image
from mmcae.datasets.transforms.load_image import UnreadableImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def test_read_image__gives_the_same_rgb_for_all_kinds(tmp_path):
    path = tmp_path / 'image.png'
    Image.fromarray(PIXELS).save(path)
    alpha = np.dstack([PIXELS, PIXELS[..., :1]])
    for image in (
        path,
        str(path),
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        alpha,
    ):
        found = read_image(image)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, PIXELS)
    gray = PIXELS[..., 0]
    for image in (gray, gray[..., None], Image.fromarray(gray)):
        np.testing.assert_array_equal(read_image(image)[..., 2], gray)


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        (PIXELS.astype(int), ValueError, 'int64'),
        (PIXELS * 1.0, ValueError, r'\[0, 1\], got 0|\[0, 1\], got'),
        (np.full((2, 2), np.nan), ValueError, 'nan'),
        (np.zeros((2, 2, 2)), ValueError, r'\(2, 2, 2\)'),
        (np.zeros((0, 2, 3)), ValueError, r'\(0, 2, 3\)'),
        (None, TypeError, 'NoneType'),
        ('nowhere.png', FileNotFoundError, 'nowhere.png is not there'),
        ('.', FileNotFoundError, 'is a folder'),
    ],
)
def test_read_image__refuses_other_things(image, error, message):
    with pytest.raises(error, match=message):
        read_image(image)


def test_find_paths__lists_files_and_folders(tmp_path):
    for name in ('b.png', 'a.jpg', 'notes.txt'):
        (tmp_path / 'folder').mkdir(exist_ok=True)
        (tmp_path / 'folder' / name).write_bytes(b'text')
    single = tmp_path / 'folder' / 'notes.txt'
    found = find_paths(single, tmp_path / 'folder')
    names = [path.rsplit('/', 1)[1] for path in found]
    assert names == ['notes.txt', 'a.jpg', 'b.png']
    with pytest.raises(UnreadableImageError, match='not an image'):
        read_image(found[0])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='has no image'):
        find_paths(tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match='is not there'):
        find_paths(tmp_path / 'nowhere')
