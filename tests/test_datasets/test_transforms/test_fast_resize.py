# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The fast resize agrees with PIL's."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from mmcae.datasets import (
    RandomFlip,
    RandomResizedCrop,
    SampleIndex,
    TwoViewRandomResizedCrop,
    TwoViewResize,
)
from mmcae.datasets.transforms import resize as module
from mmcae.datasets.transforms.resize import (
    crop,
    kernels_of,
    resize,
    resize_views,
    sample_crop_box,
)

FILTERS = {
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}


def photo(height, width, seed=0):
    """An image with soft and hard edges, black, white and some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-80, 336, (6, 8, 3)).clip(0, 255).astype(np.uint8)
    size = (max(width, 8), max(height, 6))
    img = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    cv2.circle(img, (size[0] // 2, size[1] // 2), size[1] // 4, (0,) * 3, -1)
    noise = rng.integers(-6, 7, img.shape)
    img = (img.astype(int) + noise).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(img[:height, :width])


def rows_first(img, size, interpolation):
    """Resize with PIL, rows first: since version 13 its order varies."""
    pil, kernel = Image.fromarray(img), FILTERS[interpolation]
    narrow = pil.resize((size[1], img.shape[0]), kernel)
    return np.asarray(narrow.resize(size[::-1], kernel))


pytestmark = pytest.mark.skipif(
    not module.AVAILABLE, reason='cykooz.resizer is not installed'
)


def difference(a, b):
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return np.abs(a.astype(int) - b.astype(int))


@pytest.mark.parametrize('interpolation', FILTERS)
@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        ((375, 500), (224, 224)),
        ((375, 500), (112, 112)),
        ((131, 97), (112, 112)),  # odd
        ((60, 40), (112, 112)),  # enlarged
        ((300, 50), (112, 112)),  # one side enlarged
        ((112, 112), (112, 112)),  # kept
        ((200, 300), (37, 91)),
        ((1, 1), (16, 16)),
        ((1, 300), (16, 16)),
        ((3, 2), (32, 48)),
        ((900, 1300), (112, 112)),
    ],
)
def test_resize__agrees_with_pil(shape, size, interpolation):
    img = photo(*shape)
    expected = rows_first(img, size, interpolation)
    found = resize(img, size, interpolation, 'fast')
    error = difference(found, expected)
    assert error.mean() <= 0.02
    assert error.max() <= 2
    assert found.flags.writeable
    assert found.transpose(2, 0, 1).flags.c_contiguous  # packing makes no copy


@pytest.mark.parametrize('interpolation', FILTERS)
def test_resize__agrees_with_pil_on_hard_pixels(interpolation):
    """Black and white noise: like PIL, clip values after each direction."""
    rng = np.random.default_rng(0)
    img = rng.integers(0, 2, (150, 170, 3), dtype=np.uint8) * 255
    found = resize(img, (112, 112), interpolation, 'fast')
    error = difference(found, rows_first(img, (112, 112), interpolation))
    assert error.mean() <= 0.05
    assert error.max() <= 2


def test_resize__agrees_with_pil_on_the_recipes_crops():
    """Compare with any version of PIL, in the order that it chooses."""
    rng = np.random.default_rng(0)
    errors = []
    for seed in range(40):
        height, width = (375, 500) if seed % 4 else (500, 375)
        box = sample_crop_box(rng, height, width)
        part = crop(photo(height, width, seed), box)
        for name, size in (('bicubic', (224, 224)), ('lanczos', (112, 112))):
            pair = (resize(part, size, name, b) for b in ('fast', 'pil'))
            errors.append(difference(*pair).mean())
    assert np.mean(errors[::2]) <= 0.05
    assert np.mean(errors[1::2]) <= 0.05


@pytest.mark.parametrize('interpolation', FILTERS)
def test_resize__reads_gray_images(interpolation):
    img = photo(90, 120)[..., 0].copy()
    found = resize(img, (40, 30), interpolation, 'fast')
    error = difference(found, rows_first(img, (40, 30), interpolation))
    assert error.max() <= 2
    assert found.flags.writeable


def test_resize__leaves_other_filters_to_pil():
    img = photo(90, 120)
    for name in ('nearest', 'box', 'hamming'):
        fast, pil = (resize(img, (9, 7), name, b) for b in ('fast', 'pil'))
        assert np.array_equal(fast, pil)


def test_resize_views__equal_single_calls():
    img = photo(90, 121)
    views = [((40, 30), 'bicubic'), ((9, 7), 'box'), ((12, 50), 'lanczos')]
    for backend in ('fast', 'pil'):
        found = resize_views(img, views, backend)
        for view, (size, name) in zip(found, views, strict=True):
            assert np.array_equal(view, resize(img, size, name, backend))


def test_resize__uses_pil_if_the_library_is_missing(monkeypatch):
    img = photo(90, 121)
    expected = resize(img, (40, 30), 'lanczos', 'pil')
    assert kernels_of('fast') == 'cykooz'
    assert not np.array_equal(
        resize(img, (40, 30), 'lanczos', 'fast'), expected
    )
    monkeypatch.setattr(module, 'AVAILABLE', False)
    assert kernels_of('fast') == kernels_of('pil') == 'pil'
    found = resize(img, (40, 30), 'lanczos', 'fast')
    assert np.array_equal(found, expected)


def test_resize__runs_in_threads_and_does_not_touch_its_input():
    images = [photo(90 + i, 121 - i, i) for i in range(8)]
    copies = [img.copy() for img in images]

    def make(img):
        return [resize(img, (40, 30), 'bicubic', 'fast') for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(make, images))
    for img, copy, views in zip(images, copies, found, strict=True):
        assert np.array_equal(img, copy)
        assert all(np.array_equal(view, views[0]) for view in views)
        error = difference(views[0], rows_first(img, (40, 30), 'bicubic'))
        assert error.max() <= 2


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('shape', [(50, 60), (50, 60, 1), (50, 60, 3)])
def test_crop__cuts_out_a_box(shape, flip):
    img = photo(50, 60)[..., : shape[2] if len(shape) == 3 else 1]
    img = img.reshape(shape)[:, :: -1 if flip else 1]
    part = crop(img, (5, 7, 20, 31))
    assert part.flags.c_contiguous
    assert np.array_equal(part, np.squeeze(img[5:25, 7:38].copy()))


PIPELINES = [
    lambda backend: [
        RandomFlip(0.5),
        TwoViewRandomResizedCrop(96, 48, backend=backend),
    ],
    lambda backend: [TwoViewResize(96, 48, backend=backend)],
    lambda backend: [RandomResizedCrop(96, backend=backend), RandomFlip(0.5)],
]


@pytest.mark.parametrize('pipeline', PIPELINES)
def test_transform__gives_the_same_draws_and_shapes(pipeline):
    pack = TRANSFORMS.build(dict(type='mmpretrain.PackInputs'))
    img = photo(160, 200)
    for index in range(12):
        packed = []
        for backend in ('fast', 'pil'):
            sample = SampleIndex(0, (0, 0, index))
            results = dict(img=img, sample_idx=sample)
            for transform in (*pipeline(backend), pack):
                results = transform(results)
            inputs = results['inputs']
            packed.append(inputs if isinstance(inputs, list) else [inputs])
        for fast, pil in zip(*packed, strict=True):
            assert fast.is_contiguous()
            error = difference(fast.numpy(), pil.numpy())
            assert error.mean() < 0.3  # another box or flip: above 10


@pytest.mark.parametrize(
    'kind', [TwoViewRandomResizedCrop, TwoViewResize, RandomResizedCrop]
)
def test_init__refuses_an_unknown_backend(kind):
    with pytest.raises(ValueError, match="'fast' or 'pil', got 'cv2'"):
        kind(size=8, backend='cv2')
    assert "backend='fast'" in repr(kind(size=8, backend='fast'))
