# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import copy
import io
import os
import pickle
import struct
import time
import tracemalloc
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mmcae.datasets import LoadImage, UnreadableImageError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def load(path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return LoadImage()({'img_path': str(path)})


def encode(fmt, img=RGB, **kwargs):
    buffer = io.BytesIO()
    Image.fromarray(img).save(buffer, fmt, **kwargs)
    return buffer.getvalue()


def png_chunk(name, data):
    crc = zlib.crc32(name + data)
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', crc)


def png_bomb(width, height):
    header = struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b'\0' * 1000)
    return (
        b'\x89PNG\r\n\x1a\n'
        + png_chunk(b'IHDR', header)
        + png_chunk(b'IDAT', rows)
        + png_chunk(b'IEND', b'')
    )


def test_transform__returns_bgr(tmp_path):
    path = tmp_path / 'a.png'
    Image.fromarray(RGB).save(path)
    results = load(path)
    assert np.array_equal(results['img'], RGB[..., ::-1])
    assert results['img'].flags.c_contiguous
    assert results['img'].flags.writeable
    assert results['img_shape'] == results['ori_shape'] == (20, 30)


def test_transform__decodes_jpeg_as_pil_does(tmp_path):
    path = tmp_path / 'a.JPG'
    path.write_bytes(encode('JPEG', quality=70))
    expected = np.asarray(Image.open(path).convert('RGB'))
    assert np.array_equal(load(path)['img'], expected[..., ::-1])


def test_transform__does_not_rotate(tmp_path):
    path = tmp_path / 'a.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to view"
    path.write_bytes(encode('JPEG', exif=exif))
    assert load(path)['img'].shape == (20, 30, 3)
    assert cv2.imread(str(path)).shape == (30, 20, 3)


def test_transform__keeps_an_existing_image():
    img = RGB.copy()
    results = LoadImage()({'img_path': 'nowhere', 'img': img})
    assert results['img'] is img
    assert results['ori_shape'] == (20, 30)


def test_transform__scales_16_bit_gray(tmp_path):
    ramp = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    expected = np.round(ramp / 257)
    for name in ('a.png', 'a.tif'):
        Image.fromarray(ramp).save(tmp_path / name)
        img = load(tmp_path / name)['img']
        for channel in range(3):
            assert np.array_equal(img[..., channel], expected)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'L', '1', 'CMYK', 'P', 'PA'])
def test_transform__reads_every_mode(tmp_path, mode):
    smooth = cv2.resize(RGB, (32, 24), interpolation=cv2.INTER_CUBIC)
    img = Image.fromarray(smooth).convert(mode)
    path = tmp_path / ('a.tif' if mode in ('CMYK', 'PA') else 'a.png')
    if mode == 'PA':
        img = Image.fromarray(smooth).convert('P')
        img.info['transparency'] = bytes(range(256))
        path = tmp_path / 'a.png'
    img.save(path)
    found = load(path)['img']
    assert found.shape == (24, 32, 3)
    error = np.abs(found[..., ::-1].mean((0, 1)) - smooth.mean((0, 1))).max()
    assert error < (60 if mode in ('L', 'LA', '1') else 12)


@pytest.mark.parametrize('fmt', ['WEBP', 'GIF', 'BMP', 'TIFF', 'PPM'])
def test_transform__reads_every_format(tmp_path, fmt):
    path = tmp_path / 'a.img'
    path.write_bytes(encode(fmt))
    assert load(path)['img'].shape == (20, 30, 3)


def test_transform__reads_with_a_file_backend(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(encode('PNG'))
    loader = LoadImage(backend_args={'backend': 'local'})
    img = loader({'img_path': str(path)})['img']
    assert np.array_equal(img, RGB[..., ::-1])


JPEG, PNG = encode('JPEG'), encode('PNG')
FLOAT = encode('TIFF', RGB[..., 0].astype(np.float32))
DEEP = encode('TIFF', RGB[..., 0].astype(np.int32) * 1000)
BAD = {
    'half a jpeg': JPEG[: len(JPEG) // 2],
    'jpeg header only': JPEG[:20],
    'half a png': PNG[: len(PNG) // 2],
    'png without its end': PNG[:-60],
    'png signature only': PNG[:8],
    'png with a broken header': PNG[:18] + b'\xff' * 8 + PNG[26:],
    'png with broken data': PNG[:60] + bytes(40) + PNG[100:],
    'png of size 0': png_bomb(0, 10),
    'png bomb': png_bomb(30_000, 30_000),
    'png just too large': png_bomb(13_378, 13_378),
    'half a gif': encode('GIF')[:300],
    'half a webp': encode('WEBP')[:100],
    'half a bmp': encode('BMP')[:500],
    'half a tiff': encode('TIFF')[:60],
    'short ppm': b'P6 30 20 255 ' + bytes(50),
    'float tiff': FLOAT,
    'deep tiff': DEEP,
    'text': b'not an image',
    'html': b'<html><body>404</body></html>' * 100,
    'nothing': b'',
    'zeros': bytes(1000),
    'noise': RNG.bytes(1000),
    'eps': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n',
}


@pytest.mark.parametrize('kind', BAD)
def test_transform__names_a_bad_file(tmp_path, kind):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(BAD[kind])
    with pytest.raises(UnreadableImageError) as caught:
        load(path)
    error = caught.value
    assert error.path == str(path)
    assert len(error.reason) > 8
    assert 'KeyError' not in error.reason
    assert str(path) not in error.reason
    assert str(path) in str(error)
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(copied) == str(error)


def test_transform__says_that_a_file_is_empty(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(b'')
    with pytest.raises(UnreadableImageError, match='the file is empty'):
        load(path)


@pytest.mark.parametrize('kind', ['missing', 'folder', 'dangling', 'pipe'])
def test_transform__names_a_path_that_is_not_a_file(tmp_path, kind):
    path = tmp_path / 'a.jpg'
    if kind == 'folder':
        path.mkdir()
    elif kind == 'dangling':
        path.symlink_to('nowhere.jpg')
    elif kind == 'pipe':
        os.mkfifo(path)
    with pytest.raises(UnreadableImageError, match='no such file'):
        load(path)


@pytest.mark.parametrize('limit', [Image.MAX_IMAGE_PIXELS, None])
def test_transform__refuses_a_bomb_before_decoding(
    tmp_path, monkeypatch, limit
):
    # Some programs turn PIL's own check off.
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    path = tmp_path / 'bomb.png'
    path.write_bytes(png_bomb(13_400, 13_400))
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(UnreadableImageError, match=r'13400 x 13400|179560000'):
        load(path)
    assert time.perf_counter() - start < 0.05
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_transform__keeps_a_memory_error(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(PNG)

    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image, 'open', fail)
    with pytest.raises(MemoryError):
        load(path)
