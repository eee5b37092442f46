# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from PIL import Image

from mmcae.datasets import (
    RandomResizedCrop,
    SampleIndex,
    TwoViewRandomResizedCrop,
    TwoViewResize,
    sample_crop_box,
)
from mmcae.registry import TRANSFORMS

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


@pytest.fixture
def img():
    return np.random.default_rng(0).integers(
        0, 256, (90, 120, 3), dtype=np.uint8
    )


def test_sample_crop_box__stays_inside_and_reaches_every_border():
    rng = np.random.default_rng(0)
    boxes = np.array([sample_crop_box(rng, 40, 50) for _ in range(4000)])
    top, left, h, w = boxes.T
    assert top.min() == left.min() == 0
    assert (top + h).max() == 40
    assert (left + w).max() == 50
    assert (h == 40).any()  # the full height is a legal crop
    area = h * w / 2000
    assert area.min() > 0.06
    assert area.max() <= 1
    assert 0.7 < (w / h).min() < 0.8
    assert 1.25 < (w / h).max() < 1.4


def test_sample_crop_box__includes_both_ends():
    rng = np.random.default_rng(0)
    boxes = np.array([sample_crop_box(rng, 3, 3) for _ in range(4000)])
    for start, length in (boxes.T[[0, 2]], boxes.T[[1, 3]]):
        for size in (1, 2):
            found = start[length == size]
            shares = np.bincount(found, minlength=4 - size) / len(found)
            assert shares == pytest.approx(
                [1 / (4 - size)] * (4 - size), abs=0.06
            )


def test_sample_crop_box__is_uniform_in_area_and_log_aspect():
    rng = np.random.default_rng(0)
    draws = [
        sample_crop_box(rng, 1000, 1000, (0.1, 0.5), (0.5, 2))
        for _ in range(4000)
    ]
    h, w = np.array(draws, dtype=float).T[2:]
    for values, low, high in (
        (h * w / 1e6, 0.1, 0.5),
        (np.log(w / h), -np.log(2), np.log(2)),
    ):
        grid = np.linspace(0, 1, 4000)
        unit = np.sort((values - low) / (high - low))
        assert np.abs(unit - grid).max() < 0.031  # Kolmogorov, 99.9 %


@pytest.mark.parametrize(
    ('height', 'width', 'expected'),
    [
        (300, 30, (130, 0, 40, 30)),  # too tall: 30 / (3 / 4)
        (30, 300, (0, 130, 30, 40)),  # too wide: 30 * (4 / 3)
        (30, 30, (0, 0, 30, 30)),  # within the limits: all of it
        (1, 1, (0, 0, 1, 1)),
    ],
)
def test_sample_crop_box__falls_back_to_the_center(height, width, expected):
    rng = np.random.default_rng(0)
    # no box of twice the area fits
    assert sample_crop_box(rng, height, width, (2, 2)) == expected


def test_sample_crop_box__clips_its_only_draw():
    rng = np.random.default_rng(0)
    whole, wide = (1.0, 1.0), (4 / 3, 4 / 3)
    # Of 30 x 30, a box of the whole area is 35 wide and 26 high.
    boxes = {
        sample_crop_box(rng, 30, 30, whole, wide, True) for _ in range(99)
    }
    assert {box[1:] for box in boxes} == {(0, 26, 30)}
    assert {top for top, *_ in boxes} == {0, 1, 2, 3, 4}
    assert sample_crop_box(rng, 30, 30, whole, wide) == (4, 0, 22, 30)
    # A box that fits is the same either way.
    one, two = (np.random.default_rng(1) for _ in range(2))
    half = (0.3, 0.5)
    assert sample_crop_box(one, 90, 90, half, clip=True) == sample_crop_box(
        two, 90, 90, half
    )


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (3, 3000), (2, 2)])
def test_sample_crop_box__handles_tiny_images(shape):
    rng = np.random.default_rng(0)
    for _ in range(200):
        top, left, h, w = sample_crop_box(rng, *shape)
        assert 0 < h <= shape[0] - top
        assert 0 < w <= shape[1] - left


def test_transform__equals_pil_crop_then_resize(img, monkeypatch):
    box = (20, 31, 47, 58)
    monkeypatch.setattr(
        'mmcae.datasets.transforms.two_view_crop.sample_crop_box',
        lambda *args: box,
    )
    results = TwoViewRandomResizedCrop((32, 40), 16)({'img': img})
    part = Image.fromarray(img).crop((31, 20, 31 + 58, 20 + 47))
    view, target = results['img']
    assert np.array_equal(view, np.asarray(part.resize((40, 32), BICUBIC)))
    assert np.array_equal(target, np.asarray(part.resize((16, 16), LANCZOS)))
    assert results['target_img'] is target
    assert results['img_shape'] == (32, 40)
    # The order of the channels does not matter.
    flipped = TwoViewRandomResizedCrop((32, 40), 16)({'img': img[..., ::-1]})
    assert np.array_equal(flipped['img'][0], view[..., ::-1])
    assert view.flags.writeable  # torch warns about read-only arrays


def test_transform__uses_no_pixels_outside_of_the_box(img, monkeypatch):
    monkeypatch.setattr(
        'mmcae.datasets.transforms.two_view_crop.sample_crop_box',
        lambda *args: (20, 30, 40, 40),
    )
    crop = TwoViewRandomResizedCrop(16, 8)
    other = np.zeros_like(img)
    other[20:60, 30:70] = img[20:60, 30:70]
    for a, b in zip(
        crop({'img': img})['img'], crop({'img': other})['img'], strict=True
    ):
        assert np.array_equal(a, b)


def test_transform__reads_gray_images():
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for img in (gray, gray[..., None]):
        view, target = TwoViewResize((6, 8), 4)({'img': img})['img']
        assert np.array_equal(view, gray)
        assert target.shape == (4, 4)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (np.zeros((4, 4, 3)), r'float64 \(4, 4, 3\)'),
        (np.zeros((4, 4, 17), np.uint8), r'uint8 \(4, 4, 17\)'),
        ([np.zeros((4, 4, 3), np.uint8)] * 2, 'list'),
    ],
)
def test_transform__refuses_other_arrays(value, message):
    with pytest.raises(TypeError, match=message):
        TwoViewResize(8, 8)({'img': value})


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(size=0), 'size .* got 0'),
        (dict(second_size=(1, 2, 3)), 'second_size'),
        (dict(scale=(1, 0.1)), 'scale'),
        (dict(ratio=(0, 1)), 'ratio'),
        (dict(interpolation='cubic'), "'cubic': choose one of bicubic"),
        (dict(second_interpolation='random'), "'random'"),
    ],
)
def test_init__refuses_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TwoViewRandomResizedCrop(**kwargs)


def test_transform__follows_the_identity(img):
    crop = TwoViewRandomResizedCrop(16, 8)

    def view(*identity):
        results = {'img': img, 'sample_idx': SampleIndex(0, identity)}
        return crop(results)['img'][0].tobytes()

    assert view(0, 0, 0) == view(0, 0, 0)
    assert len({view(s, e, 0) for s in (0, 1) for e in (0, 1)}) == 4
    single = RandomResizedCrop(16)(
        {'img': img, 'sample_idx': SampleIndex(0, (0, 0, 0))}
    )
    assert single['img'].tobytes() == view(0, 0, 0)


def test_transform__feeds_mmpretrains_pipeline(img):
    """With mmpretrain's name, its packing and its data preprocessor."""
    from mmpretrain.registry import MODELS

    crop = TRANSFORMS.build(
        dict(
            type='mmcae.RandomResizedCropAndInterpolationWithTwoPic',
            size=32,
            second_size=16,
            interpolation='bicubic',
            second_interpolation='lanczos',
            scale=(0.08, 1.0),
        )
    )
    pack = TRANSFORMS.build(dict(type='mmpretrain.PackInputs'))
    results = crop({'img': img})
    view, target = results['img']
    packed = pack(results)
    preprocess = MODELS.build(
        dict(
            type='mmpretrain.TwoNormDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            second_mean=[-31.875] * 3,
            second_std=[318.75] * 3,
            to_rgb=True,
        )
    )
    out = preprocess(
        {
            'inputs': [x[None] for x in packed['inputs']],
            'data_samples': [packed['data_samples']],
        }
    )['inputs']
    assert out[0].shape == (1, 3, 32, 32)
    red = (view[..., 2] - 123.675) / 58.395
    assert torch.allclose(out[0][0, 0], torch.from_numpy(red).float())
    green = 0.8 * target[..., 1] / 255 + 0.1
    assert torch.allclose(out[1][0, 1], torch.from_numpy(green).float())
