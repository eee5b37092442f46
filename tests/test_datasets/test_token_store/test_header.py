# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The header of a store has everything that tokens depend on."""

import os
from types import SimpleNamespace

import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.registry import MODELS

from mmcae.config.check import ConfigError
from mmcae.datasets import (
    FolderDataset,
    SeededInfiniteSampler,
    SeededSampler,
)
from mmcae.datasets.token_store.header import (
    describe_images,
    describe_tokenizer,
    describe_views,
    run_header,
    skip_first_view,
)
from mmcae.datasets.token_store.store import differences
from mmcae.models import DVAE, DALLEEncoder

LOAD = dict(type='mmcae.LoadImage')
FLIP = dict(type='mmcae.RandomFlip', prob=0.5)
CROP = dict(
    type='mmcae.TwoViewRandomResizedCrop', size=32, second_size=(16, 24)
)


class OtherDVAE(DVAE):
    """A class with the same tensors that may compute other tokens."""


def data(photos, *pipeline):
    return FolderDataset(str(photos), pipeline=list(pipeline))


def header(photos, **change):
    """Header of a small run, with a change."""
    torch.manual_seed(0)
    kind = change.get('tokenizer', DVAE)
    tokenizer = kind(vocab_size=24, hidden_channels=(4, 4, 8))
    if 'weights' in change:
        tokenizer.codebook.weight.data[0, 0] += 1
    preprocessor = MODELS.build(
        dict(
            type='mmpretrain.TwoNormDataPreprocessor',
            mean=[127.5] * 3,
            std=[64.0] * 3,
            second_mean=change.get('second_mean', [0.0] * 3),
            second_std=change.get('second_std', [255.0] * 3),
            to_rgb=change.get('to_rgb', True),
        )
    )
    dataset = data(photos, LOAD, FLIP, {**CROP, **change.get('crop', {})})
    sampler = change.get('sampler', SeededSampler)(
        dataset,
        seed=change.get('seed', 3),
        **change.get('sampler_options', {}),
    )
    return run_header(dataset, sampler, tokenizer, preprocessor)


@pytest.mark.parametrize(
    ('change', 'keys'),
    [
        (dict(), set()),
        (dict(sampler=SeededInfiniteSampler), set()),
        (dict(seed=4), {'seed'}),
        (dict(sampler_options=dict(view_pool=2)), {'view_pool'}),
        (dict(tokenizer=OtherDVAE), {'tokenizer.type'}),
        (dict(weights=True), {'tokenizer.weights'}),
        (dict(second_mean=[1.0] * 3), {'pixels.second_mean'}),
        (dict(second_std=[1.0] * 3), {'pixels.second_std'}),
        (dict(to_rgb=False), {'pixels.to_rgb'}),
        (
            dict(crop=dict(second_size=(24, 16))),
            {'views.2_TwoViewRandomResizedCrop.second_size', 'grid'},
        ),
    ],
)
def test_run_header__contains_everything_that_changes_tokens(
    photos, change, keys
):
    plain, changed = header(photos), header(photos, **change)
    assert plain['grid'] == [2, 3]
    found = {line.split(':')[0] for line in differences(plain, changed)}
    assert found == keys


def test_run_header__needs_a_sampler_that_identifies_views(photos):
    with pytest.raises(ConfigError, match='DefaultSampler does not say which'):
        header(photos, sampler=DefaultSampler)


def test_describe_tokenizer__has_the_precision():
    found = set()
    for precision in ('fp32', 'bf16', 'fp16'):
        torch.manual_seed(0)
        tokenizer = DALLEEncoder(n_hid=4, vocab_size=8, precision=precision)
        found.add(tuple(describe_tokenizer(tokenizer).items()))
    assert {dict(items)['precision'] for items in found} == {
        'float32',
        'bfloat16',
        'float16',
    }
    assert len({dict(items)['weights'] for items in found}) == 1


def test_describe_tokenizer__refuses_tokens_that_cannot_be_stored():
    tokenizer = torch.nn.Linear(2, 2)
    tokenizer.vocab_size, tokenizer.downsample = 65536, 8
    assert describe_tokenizer(tokenizer)['vocab_size'] == 65536
    tokenizer.vocab_size += 1
    with pytest.raises(ConfigError, match='65537 codes of Linear do not fit'):
        describe_tokenizer(tokenizer)
    for key in ('downsample', 'vocab_size'):
        setattr(tokenizer, key, None)
        with pytest.raises(ConfigError, match=f"has no number '{key}'"):
            describe_tokenizer(tokenizer)


def test_describe_views__looks_through_wrappers(photos):
    one, same = (data(photos, LOAD, FLIP, CROP) for _ in range(2))
    other = data(photos, LOAD, CROP)
    expected = describe_views(one)
    assert expected[1] == (16, 24)
    joined = ConcatDataset([one, same])
    assert describe_views(joined) == expected
    assert describe_views(RepeatDataset(one, 2)) == expected
    subset = SimpleNamespace(_dataset=one)
    assert describe_views(subset) == expected
    with pytest.raises(ConfigError, match='make different views'):
        describe_views(ConcatDataset([one, other]))
    with pytest.raises(ConfigError, match='has no pipeline'):
        describe_views([1, 2])


class Jitter(BaseTransform):
    __module__ = 'mmcae.tests'

    def __init__(self, function, at=(0, 1)):
        self.function = function
        self.at = at
        self._cache = object()

    def transform(self, results):
        return results


def test_describe_views__contains_functions_but_no_private_attributes(photos):
    def views(*transforms):
        dataset = data(photos, LOAD, CROP)
        dataset.pipeline.transforms[1:1] = transforms
        return describe_views(dataset)[0]

    one = views(Jitter(os.path.join))
    assert one['1_Jitter'] == dict(at=[0, 1], function='posixpath.join')
    assert one == views(Jitter(os.path.join))
    assert one != views(Jitter(os.path.split))


@pytest.mark.parametrize('inside', [False, True])
def test_describe_views__follows_the_order(photos, inside):
    flip = [dict(type='mmcv.RandomFlip', prob=p) for p in (0.2, 0.3)]
    pairs = (flip, flip[::-1])
    if inside:
        pipelines = [[dict(type='mmcae.Seeded', transforms=p)] for p in pairs]
    else:
        pipelines = [
            [dict(type='mmcae.Seeded', transforms=[t]) for t in pair]
            for pair in pairs
        ]
    one, other = (
        describe_views(data(photos, LOAD, *pipeline, CROP))
        for pipeline in pipelines
    )
    assert one != other


def test_describe_images__checks_files_in_all_parts_of_the_list(tmp_path):
    def described(paths):
        infos = [dict(img_path=str(path)) for path in paths]

        class Listed(list):
            def get_data_info(self, index):
                return self[index]

        return describe_images(Listed(infos))

    file = tmp_path / 'x'
    file.write_bytes(b'x')
    names = [tmp_path / f'{i:04d}' for i in range(2500)]
    for name in names:
        os.link(file, name)
    before = described(names)
    names[2499 - 2499 % 3].unlink()
    after = described(names)
    assert after['names'] == before['names']
    assert after['sizes'] != before['sizes']
    odd = [tmp_path / os.fsdecode(b'\xff'), file]
    assert described(odd)['images'] == 2


def test_skip_first_view__does_not_change_the_second_view(photos):
    dataset, quick = (data(photos, LOAD, FLIP, CROP) for _ in range(2))
    skip_first_view(ConcatDataset([quick]))
    index = SeededSampler(dataset, seed=0).__iter__().__next__()
    one, other = dataset[index]['img'], quick[index]['img']
    assert (one[1] == other[1]).all()
    assert other[0].shape == (1, 1, 3)
    assert one[0].shape == (32, 32, 3)
