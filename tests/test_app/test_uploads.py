# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the page takes as a picture, and what it refuses."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmcae.app import uploads
from mmcae.app.uploads import RefusedError, read_upload


def png_header(width, height):
    """A PNG that announces a size and has no pixels."""
    body = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack('>I', 13) + body + struct.pack('>I', zlib.crc32(body))
    end = b'IEND'
    tail = struct.pack('>I', 0) + end + struct.pack('>I', zlib.crc32(end))
    return b'\x89PNG\r\n\x1a\n' + chunk + tail


def test_picture__is_read_as_rgb(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., 0] = 200
    Image.fromarray(pixels).save(tmp_path / 'red.png')
    np.testing.assert_array_equal(read_upload(tmp_path / 'red.png'), pixels)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_picture__is_turned_as_its_camera_says(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / 'a.png', exif=exif)
    from PIL import ImageOps

    with Image.open(tmp_path / 'a.png') as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_upload(tmp_path / 'a.png'), expected)


def test_large_file__is_refused_before_it_is_read(tmp_path):
    with (tmp_path / 'large.png').open('wb') as file:
        file.truncate(uploads.MAX_BYTES + 1)
    with pytest.raises(RefusedError, match=r'20\.0 MB.*up to 20 MB'):
        read_upload(tmp_path / 'large.png')


@pytest.mark.parametrize(
    ('size', 'words'),
    [
        ((10_000, 5_010), '10000 x 5010 pixels, which is 50.1 megapixels'),
        ((60_000, 60_000), 'more than 300 megapixels'),
    ],
)
def test_many_pixels__are_refused_before_they_are_decoded(
    tmp_path, monkeypatch, size, words
):
    def decode(path):
        raise AssertionError('it must not be decoded')

    monkeypatch.setattr(uploads, 'read_image', decode)
    (tmp_path / 'bomb.png').write_bytes(png_header(*size))
    with pytest.raises(RefusedError, match=words):
        read_upload(tmp_path / 'bomb.png')


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'the file is empty'),
        (b'no picture', 'not an image, or of an unknown format'),
        (png_header(8, 8), 'Error'),
        (b'\xff\xd8\xff\xe0 broken', 'Error'),
    ],
)
def test_malformed_file__is_refused_in_one_sentence(tmp_path, content, reason):
    (tmp_path / 'x.png').write_bytes(content)
    with pytest.raises(RefusedError) as raised:
        read_upload(tmp_path / 'x.png')
    text = str(raised.value)
    assert text.startswith('the file cannot be read as a picture (')
    assert reason in text
    assert '\n' not in text
    assert str(tmp_path) not in text


def test_removed_file__is_a_sentence(tmp_path):
    with pytest.raises(RefusedError, match='upload it again'):
        read_upload(tmp_path / 'gone.png')
