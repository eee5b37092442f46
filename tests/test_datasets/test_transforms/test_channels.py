# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Images that are not 8-bit RGB: 1 to 16 channels, 16 bits, floats."""

import io
import random
import sys
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from helpers.mutations import mutant
from mmpretrain.datasets.transforms import PackInputs
from PIL import Image

from mmcae.datasets import (
    FolderDataset,
    LoadImage,
    RandomFlip,
    RandomResizedCrop,
    TwoViewRandomResizedCrop,
    UnreadableImageError,
)
from mmcae.datasets.image_cache import ImageCache
from mmcae.datasets.transforms import read_pixels as module
from mmcae.datasets.transforms.read_pixels import pixel_format, read_pixels
from mmcae.datasets.transforms.resize import crop, resize
from mmcae.datasets.transforms.value_range import (
    check_value_range,
    percentile_range,
    to_range,
)

RNG = np.random.default_rng(0)


def deep(*shape):
    return RNG.integers(0, 65_536, shape, dtype=np.uint16)


def bytes_of(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def write(path, array, **options):
    path = str(path)
    if path.endswith('.npy'):
        np.save(path, array)
    elif path.endswith('.tif'):
        options.setdefault('photometric', 'minisblack')
        tifffile.imwrite(path, array, **options)
    else:
        order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
        if array.ndim == 3:
            array = array[..., order[array.shape[2]]]
        assert cv2.imwrite(path, array)
    return path


def read(path, channels=None):
    with open(path, 'rb') as file:
        return read_pixels(file, channels)


CONTIGUOUS = dict(planarconfig='contig')
PLANES = dict(planarconfig='separate')
FILES = {
    'gray PNG': ('a.png', deep(20, 30), {}),
    'color PNG': ('a.png', deep(20, 30, 3), {}),
    'PNG with transparency': ('a.png', deep(20, 30, 4), {}),
    'gray PGM': ('a.pgm', deep(20, 30), {}),
    'gray TIFF': ('a.tif', deep(20, 30), {}),
    'float TIFF': ('a.tif', RNG.random((20, 30), dtype=np.float32), {}),
    'color TIFF': ('a.tif', deep(20, 30, 3), dict(photometric='rgb')),
    'float color TIFF': (
        'a.tif',
        RNG.random((20, 30, 3), dtype=np.float32),
        dict(photometric='rgb', compression='zlib'),
    ),
    'TIFF of 4': ('a.tif', deep(20, 30, 4), CONTIGUOUS),
    'TIFF of 16': ('a.tif', deep(20, 30, 16), CONTIGUOUS),
    'signed TIFF': ('a.tif', deep(20, 30, 2).astype(np.int16), CONTIGUOUS),
    'RGB and infrared': (
        'a.tif',
        bytes_of(20, 30, 4),
        dict(photometric='rgb', extrasamples=['unspecified']),
    ),
    'array': ('a.npy', deep(20, 30), {}),
    'array of 16': ('a.npy', RNG.random((20, 30, 16)), {}),
}


@pytest.mark.parametrize('kind', FILES)
def test_read__keeps_channels_and_bits(kind, tmp_path):
    name, array, options = FILES[kind]
    path = write(tmp_path / name, array, **options)
    pixels, alpha = read(path)
    wanted = array if array.ndim == 3 else array[..., None]
    assert np.array_equal(pixels, wanted)
    assert alpha == (kind == 'PNG with transparency')
    found = pixel_format(path)
    assert (found.height, found.width, found.channels) == wanted.shape
    assert found.depth == array.dtype.name or kind == 'gray PGM'
    assert not found.is_photo


@pytest.mark.parametrize(
    ('name', 'mode', 'channels'),
    [
        ('a.png', 'RGB', 3),
        ('a.png', 'RGBA', 4),
        ('a.png', 'LA', 2),
        ('a.png', 'P', 3),
        ('a.gif', 'P', 3),
        ('a.jpg', 'L', 1),
        ('a.jpg', 'CMYK', 3),
        ('a.tif', 'RGBA', 4),
        ('a.bmp', '1', 3),
    ],
)
def test_read__photographs_are_known(name, mode, channels, tmp_path):
    image = Image.fromarray(bytes_of(20, 30, 3)).convert(mode)
    image.save(tmp_path / name)
    found = pixel_format(str(tmp_path / name))
    assert found.is_photo
    assert found.channels == channels
    pixels, alpha = read(tmp_path / name)
    assert pixels.shape == (20, 30, channels)
    assert alpha == mode.endswith('A')


@pytest.mark.parametrize(
    ('shape', 'channels', 'first'),
    [
        ((20, 30, 4), None, False),
        ((4, 20, 30), None, True),
        ((4, 20, 30), 4, True),
        ((16, 30, 16), 16, False),  # both fit
        ((8, 30, 20), 8, True),
        ((1, 20, 30), 4, True),  # gray; the caller refuses it
    ],
)
@pytest.mark.parametrize('name', ['a.npy', 'a.tif'])
def test_read__channels_come_first_or_last(
    name, shape, channels, first, tmp_path
):
    array = deep(*shape)
    # In a TIFF, each index of the first axis is a page.
    path = write(tmp_path / name, array)
    pixels, _ = read(path, channels)
    wanted = array.transpose(1, 2, 0) if first else array
    assert np.array_equal(pixels, wanted)


def test_read__planes_and_pages_of_a_tiff(tmp_path):
    array = deep(4, 20, 30)
    for options in (PLANES, {}, dict(metadata=None)):
        path = write(tmp_path / 'a.tif', array, **options)
        pixels, _ = read(path, 4)
        assert np.array_equal(pixels, array.transpose(1, 2, 0))


def load(path, **options):
    return LoadImage(**options)({'img_path': str(path)})['img']


def test_load__color_is_bgr_and_other_channels_keep_their_order(tmp_path):
    color = deep(20, 30, 3)
    path = write(tmp_path / 'color.png', color)
    img = load(path, value_range=(0, 65_535))
    assert img.dtype == np.float32
    np.testing.assert_allclose(img[..., ::-1], color / 257, atol=1e-4)
    four = bytes_of(20, 30, 4)
    path = write(tmp_path / 'four.npy', four)
    img = load(path, channels=4)
    assert img.dtype == np.uint8
    assert np.array_equal(img, four)
    assert img.flags.writeable
    # The default stays 8-bit color.
    img = load(write(tmp_path / 'gray.npy', four[..., 0]))
    assert np.array_equal(img, four[..., :1].repeat(3, axis=2))


def test_load__transparency_can_be_a_channel_or_be_dropped(tmp_path):
    pixels = bytes_of(20, 30, 4)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    path = tmp_path / 'a.png'
    img = load(path, channels=4)
    assert np.array_equal(img, pixels)
    assert img.flags.writeable
    assert np.array_equal(load(path), pixels[..., 2::-1])
    ranged = load(path, value_range=(0, 255))
    np.testing.assert_allclose(ranged, pixels[..., 2::-1], atol=1e-4)


def test_load__16_bits_without_a_range(tmp_path):
    path = write(tmp_path / 'a.tif', np.array([[0, 257, 65_535]] * 4, 'u2'))
    img = load(path, channels=1)
    assert img.dtype == np.float32
    assert img[0, :, 0].tolist() == [0, 1, 255]


def test_range__is_mapped_and_clipped():
    pixels = np.array([[[0.0, -5], [1, 0], [2, 5]]])
    both = to_range(pixels, check_value_range((0, 1), 2))
    assert both[0].tolist() == [[0, 0], [255, 0], [255, 255]]
    each = to_range(pixels, check_value_range([(0, 2), (-5, 5)], 2))
    assert each[0].tolist() == [[0, 0], [127.5, 127.5], [255, 255]]
    # A small difference of large numbers survives.
    large = to_range(
        np.array([[[1e9], [1e9 + 1]]]), check_value_range((1e9, 1e9 + 1), 1)
    )
    assert large.ravel().tolist() == [0, 255]


def test_range__by_percentile():
    channel = np.linspace(0, 1, 10_000).reshape(100, 100)
    pixels = np.stack([channel, 10 * channel], axis=2)
    pixels[0, 0] = 1e6  # one broken pixel
    (low, high), (_, ten) = percentile_range(pixels)
    assert low == pytest.approx(0.005, abs=0.001)
    assert high == pytest.approx(0.995, abs=0.001)
    assert ten == pytest.approx(9.95, abs=0.01)
    # Colors share a range.
    color = np.stack([channel, channel, 10 * channel], axis=2)
    assert len(percentile_range(color)) == 1
    img = to_range(pixels, 'percentile')
    assert (img.min(), img.max()) == (0, 255)


@pytest.mark.parametrize(
    'value',
    ['minmax', (1, 1), (2, 1), (0, np.inf), [(0, 1)] * 3, 5, [[0, 1, 2]]],
)
def test_range__that_is_none(value):
    with pytest.raises(ValueError, match='value_range must be None'):
        LoadImage(channels=2, value_range=value)


@pytest.mark.parametrize('channels', [0, 17, 'RGB', 2.0])
def test_load__channels_are_1_to_16(channels):
    with pytest.raises(ValueError, match='channels must be a number from 1'):
        LoadImage(channels=channels)


def nan_array():
    array = RNG.random((20, 30, 4))
    array[3, 4, 1] = np.nan
    return array


def truncated(name, array, **options):
    def make(folder):
        path = write(folder / name, array, **options)
        with open(path, 'rb') as file:
            content = file.read()
        (folder / name).write_bytes(content[: len(content) * 3 // 4])
        return path

    return make


def pickled(folder):
    np.save(folder / 'a.npy', np.array([{}], dtype=object))
    return folder / 'a.npy'


UNREADABLE = {
    'NaN': (lambda d: write(d / 'a.npy', nan_array()), 'are NaN or infinite'),
    'constant': (
        lambda d: write(d / 'a.npy', np.ones((20, 30, 4))),
        'nearly all pixels of channel 1 have the value 1',
    ),
    'channels': (
        lambda d: write(d / 'a.npy', deep(20, 30)),
        'the image has 1 channel, and channels=4 is set',
    ),
    'axis': (
        lambda d: write(d / 'a.npy', deep(20, 30, 5)),
        'neither its first nor its last axis has 4 channels',
    ),
    'axes': (lambda d: write(d / 'a.npy', deep(2, 20, 30, 4)), 'has 4 axes'),
    'no pixels': (lambda d: write(d / 'a.npy', deep(0, 20, 4)), 'no pixels'),
    'complex': (
        lambda d: write(d / 'a.npy', np.ones((20, 30, 4), complex)),
        'pixels of the type complex128 are not supported',
    ),
    'pickle': (pickled, 'pixels of the type object are not supported'),
    'cut array': (truncated('a.npy', deep(20, 30, 4)), 'truncated: the file'),
    'cut TIFF': (
        truncated('a.tif', deep(20, 30, 4), **CONTIGUOUS),
        'a.tif: ',
    ),
    'cut PNG': (truncated('a.png', deep(20, 30, 4)), 'damaged or truncated'),
    'text': (lambda d: (d / 'a.tif').write_text('x') and d / 'a.tif', 'not'),
}


@pytest.mark.parametrize('kind', UNREADABLE)
def test_load__unreadable_files_are_one_sentence(kind, tmp_path):
    make, words = UNREADABLE[kind]
    path = make(tmp_path)
    with pytest.raises(UnreadableImageError) as error:
        load(path, channels=4, value_range='percentile')
    assert words in str(error.value)
    assert '\n' not in str(error.value)


def test_load__type_without_a_known_range(tmp_path):
    path = write(tmp_path / 'a.npy', RNG.random((20, 30, 4)))
    with pytest.raises(UnreadableImageError, match='set value_range of mmcae'):
        load(path, channels=4)


def test_load__tiff_that_is_not_8_bit_color_by_default(tmp_path):
    path = write(tmp_path / 'a.tif', deep(20, 30, 5), **CONTIGUOUS)
    with pytest.raises(UnreadableImageError, match='set channels and value_r'):
        load(path)


def test_load__huge_images_are_refused_before_they_are_decoded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, 'MAX_PIXELS', 500)
    for name, array in (('a.npy', deep(20, 30)), ('a.tif', deep(20, 30))):
        path = write(tmp_path / name, array)
        with pytest.raises(UnreadableImageError, match='more than 500'):
            load(path, channels=1)
    monkeypatch.setattr(module, 'MAX_PIXELS', 700)
    path = write(tmp_path / 'a.npy', deep(20, 30, 4))
    with pytest.raises(UnreadableImageError, match='more than 2,100 numbers'):
        load(path, channels=4)


def test_load__header_of_an_array_that_asks_for_too_much(tmp_path):
    stream = io.BytesIO()
    header = dict(descr='<u2', fortran_order=False, shape=(9_000, 9_000, 4))
    np.lib.format.write_array_header_1_0(stream, header)
    (tmp_path / 'a.npy').write_bytes(stream.getvalue() + b'abc')
    with pytest.raises(UnreadableImageError, match='truncated: the file has'):
        load(tmp_path / 'a.npy', channels=4)


def test_load__bomb_in_a_tiff(tmp_path, monkeypatch):
    path = tmp_path / 'a.tif'
    array = np.zeros((64, 64, 4), np.uint16)
    write(path, array, compression='zlib', **CONTIGUOUS)
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        start, count = page.dataoffsets[0], page.databytecounts[0]
    bomb = zlib.compress(b'\0' * 200_000)  # the segment has 32,768 bytes
    assert len(bomb) > count
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        offset, size = (
            tags[name].valueoffset
            for name in ('StripOffsets', 'StripByteCounts')
        )
    changed = bytearray(content + bomb)
    changed[offset : offset + 4] = len(content).to_bytes(4, 'little')
    changed[size : size + 4] = len(bomb).to_bytes(4, 'little')
    path.write_bytes(changed)
    assert start
    monkeypatch.setattr(module.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UnreadableImageError, match='more than its 32,768'):
        load(path, channels=4)


def test_load__says_which_extra_reads_a_tiff(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.tif', deep(20, 30, 4), **CONTIGUOUS)
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(ImportError, match=r"pip install 'mmcae\[tiff\]'"):
        load(path, channels=4)
    # What PIL reads needs no other package.
    path = write(tmp_path / 'gray.tif', deep(20, 30))
    assert load(path, channels=1).shape == (20, 30, 1)


@pytest.mark.parametrize('kind', ['TIFF of 4', 'color PNG', 'array of 16'])
def test_load__damaged_files_are_loaded_or_refused(kind, tmp_path):
    name, array, options = FILES[kind]
    path = tmp_path / name
    write(path, array, **options)
    content, chance = path.read_bytes(), random.Random(0)
    loader = LoadImage(channels=array.shape[2], value_range='percentile')
    refused = 0
    for _ in range(100):
        changed = mutant(content[:400], chance) + content[400:]
        path.write_bytes(changed)
        try:
            loader.load(str(path))
        except (UnreadableImageError, ImportError):
            refused += 1
    assert refused > 10


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_resize__every_channel_like_a_gray_image(channels, dtype):
    img = (255 * RNG.random((40, 30, channels))).astype(dtype)
    part = crop(img[:, ::-1], (5, 3, 30, 20))
    wanted = img[5:35, ::-1][:, 3:23]
    assert np.array_equal(part.reshape(wanted.shape), wanted)
    for backend in ('pil', 'fast'):
        found = resize(part, (12, 16), 'bicubic', backend)
        assert found.dtype == dtype
        found = found.reshape(12, 16, channels)
        assert found.min() >= part.min()
        for i in range(channels):
            alone = np.ascontiguousarray(wanted[..., i])
            alone = resize(alone, (12, 16), 'bicubic', 'pil')
            difference = np.abs(found[..., i].astype(float) - alone)
            # The fast library filters in another order.
            assert difference.mean() <= (1 if backend == 'fast' else 0)


def test_resize__floats_do_not_overshoot():
    edge = np.zeros((8, 8, 4), np.float32)
    edge[:, 4:] = 255
    found = resize(edge, (16, 16), 'bicubic')
    assert (found.min(), found.max()) == (0, 255)


def test_crop__wrong_types_and_channels():
    for img in (np.ones((8, 8, 17), np.uint8), np.ones((8, 8, 3))):
        with pytest.raises(TypeError, match='with 1 to 16 channels, got'):
            crop(img, None)


@pytest.mark.parametrize('channels', [1, 4, 16])
def test_pipeline__of_pretraining(channels, tmp_path):
    array = deep(40, 30, channels)
    path = write(tmp_path / 'a.npy', array)
    results = {'img_path': path}
    for transform in (
        LoadImage(channels=channels, value_range=(0, 65_535)),
        RandomFlip(prob=1.0),
        TwoViewRandomResizedCrop(size=16, second_size=8, backend='fast'),
        PackInputs(),
    ):
        results = transform(results)
    first, second = results['inputs']
    assert first.shape == (channels, 16, 16)
    assert second.shape == (channels, 8, 8)
    assert first.dtype.is_floating_point
    assert 0 <= first.min() < first.max() <= 255
    one = RandomResizedCrop(size=8)(
        {'img': load(path, channels=channels), 'img_path': path}
    )
    assert one['img'].reshape(8, 8, -1).shape == (8, 8, channels)


def test_cache__keeps_types(tmp_path):
    cache = ImageCache(10_000)
    images = {
        'a': bytes_of(5, 3, 3),
        'b': RNG.random((4, 5, 4), dtype=np.float32),
        'c': bytes_of(7, 1),
    }
    for name, img in images.items():
        cache.add(name, img)
    cache.finish()
    for name, img in images.items():
        found = cache.get(name)
        assert found.dtype == img.dtype
        assert np.array_equal(found, img)
        assert found.flags.writeable


def test_folder__broken_images_are_skipped(tmp_path):
    for i in range(6):
        write(tmp_path / f'{i}.npy', RNG.random((20, 30, 4)))
    write(tmp_path / '2.npy', nan_array())
    dataset = FolderDataset(
        str(tmp_path),
        cache=True,
        pipeline=[
            dict(type='mmcae.LoadImage', channels=4, value_range=(0, 1))
        ],
    )
    assert len(dataset) == 6
    assert all(dataset[i]['img'].shape == (20, 30, 4) for i in range(6))
    assert dataset.num_unreadable == 1
    assert 'NaN' in dataset.unreadable_files()[0]


def test_folder__arrays_beside_images_are_no_images(tmp_path):
    write(tmp_path / 'labels.npy', deep(20))
    for name in 'abc':
        write(tmp_path / f'{name}.png', bytes_of(20, 30, 3))
    assert len(FolderDataset(str(tmp_path))) == 3


def test_load__describes_only_what_changes_the_view():
    assert LoadImage(backend='pil').target_view_settings() == {}
    assert LoadImage(value_range=(0, 1)).target_view_settings() == dict(
        channels=3, value_range=((0.0, 1.0),)
    )
    assert 'channels=4' in repr(LoadImage(channels=4))
