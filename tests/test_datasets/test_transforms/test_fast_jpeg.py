# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The fast decoder gives the same pixels and errors as PIL."""

import io
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image

from mmcae.datasets import LoadImage, UnreadableImageError
from mmcae.datasets.transforms.fast_jpeg import decode_jpeg
from mmcae.datasets.transforms.load_image import MAX_PIXELS

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (8, 9, 3), dtype=np.uint8), (93, 71))
ROTATED = Image.Exif()
ROTATED[0x0112] = 6


def encode(mode='RGB', fmt='JPEG', size=(93, 71), **kwargs):
    buffer = io.BytesIO()
    img = Image.fromarray(SMOOTH).resize(size).convert(mode)
    img.save(buffer, fmt, **kwargs)
    return buffer.getvalue()


COLORED = {
    'plain': encode(quality=90),
    'progressive': encode(progressive=True, quality=60),
    'full chroma': encode(subsampling=0),
    'half chroma': encode(subsampling=1, optimize=True),
    'stored as rgb': encode(keep_rgb=True),
    'restart markers': encode(restart_marker_rows=1),
    'rotated by exif': encode(exif=ROTATED),
    'two pictures': encode(
        fmt='MPO', save_all=True, append_images=[Image.new('RGB', (9, 9))]
    ),
    'one pixel': encode(size=(1, 1)),
    'odd': encode(size=(17, 3)),
    'wide': encode(size=(301, 1)),
    'trailing bytes': encode() + bytes(99),
}
OTHERS = {
    'gray': encode('L'),
    'cmyk': encode('CMYK'),
    'palette png': encode('P', 'PNG'),
    'alpha png': encode('RGBA', 'PNG'),
    'gray tiff': encode('L', 'TIFF'),
    'gray alpha png': encode('LA', 'PNG'),
    '16-bit png': encode('I;16', 'PNG'),
    'black and white png': encode('1', 'PNG'),
    'rotated by exif, webp': encode(fmt='WEBP', exif=ROTATED, lossless=True),
}


def load(path, data, backend):
    """Return the pixels, or the reason of the error."""
    path.write_bytes(data)
    try:
        return LoadImage(backend=backend).load(str(path))
    except UnreadableImageError as error:
        return error.reason


def assert_same(path, data):
    fast, pil = (load(path, data, backend) for backend in ('fast', 'pil'))
    if isinstance(pil, str):
        assert fast == pil
    else:
        assert np.array_equal(fast, pil)
        assert fast.flags.writeable
        assert fast.flags.c_contiguous


@pytest.mark.parametrize('kind', COLORED)
def test_decode_jpeg__gives_pils_pixels(tmp_path, kind):
    assert decode_jpeg(COLORED[kind], MAX_PIXELS) is not None
    assert_same(tmp_path / 'a.jpg', COLORED[kind])


@pytest.mark.parametrize('kind', OTHERS)
def test_decode_jpeg__leaves_other_images_to_pil(tmp_path, kind):
    assert decode_jpeg(OTHERS[kind], MAX_PIXELS) is None
    assert_same(tmp_path / 'a.jpg', OTHERS[kind])


def test_decode_jpeg__leaves_bombs_to_pil(tmp_path, monkeypatch):
    data = COLORED['plain']
    assert decode_jpeg(data, 93 * 71) is not None
    assert decode_jpeg(data, 93 * 71 - 1) is None
    loading = 'mmcae.datasets.transforms.load_image'
    monkeypatch.setattr(f'{loading}.MAX_PIXELS', 93 * 71 - 1)
    assert 'more than 6,602' in load(tmp_path / 'a.jpg', data, 'fast')


@pytest.mark.parametrize('kind', ['plain', 'progressive', 'two pictures'])
def test_load__reports_truncated_files_like_pil(tmp_path, kind):
    data = COLORED[kind]
    check = partial(assert_same, tmp_path / 'a.jpg')
    for length in (*range(0, 300, 23), *range(len(data) - 9, len(data))):
        check(data[:length])


@pytest.mark.parametrize('kind', ['plain', 'progressive', 'rotated by exif'])
def test_load__treats_damaged_files_as_pil_does(tmp_path, kind):
    rng = np.random.default_rng(0)
    whole = COLORED[kind]
    for last in (len(whole), 600):  # anywhere, and in the header
        for _ in range(60):
            data = bytearray(whole)
            for place in rng.integers(2, last, rng.integers(1, 4)):
                data[place] = rng.integers(256)
            assert_same(tmp_path / 'a.jpg', bytes(data))


def test_load__is_also_fast_with_a_file_backend(tmp_path, monkeypatch):
    path = tmp_path / 'a.jpg'
    expected = load(path, COLORED['plain'], 'pil')
    monkeypatch.setattr(Image, 'open', None)  # any use of PIL would fail
    for backend_args in (None, dict(backend='local')):
        loader = LoadImage(backend_args)
        assert np.array_equal(loader.load(str(path)), expected)


def test_load__uses_only_pil_if_told_to(tmp_path, monkeypatch):
    loading = 'mmcae.datasets.transforms.load_image'
    monkeypatch.setattr(f'{loading}.decode_jpeg', None)
    data = COLORED['plain']
    assert load(tmp_path / 'a.jpg', data, 'pil').shape == (71, 93, 3)
    assert 'TypeError' in load(tmp_path / 'a.jpg', data, 'fast')


def test_init__refuses_an_unknown_backend():
    with pytest.raises(ValueError, match="'fast' or 'pil', got 'turbo'"):
        LoadImage(backend='turbo')
