# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Bands of losses: how they are made, and which runs they hold for."""

import numpy as np
import pytest

from mmcae.config.overrides import load_config
from mmcae.config.search_path import find_config
from mmcae.zoo.band_making import make_band
from mmcae.zoo.band_settings import curve_settings, digest_of
from mmcae.zoo.loss_bands import (
    LEAST_MARGIN,
    Band,
    find_band,
    packaged_bands,
    read_band,
    read_bands,
)

LR = 'optim_wrapper.optimizer.lr'
MEAN = 'model.data_preprocessor.mean'


def settings(**changes):
    """Settings of a run; ``__`` in a name means a dot."""
    own = {
        'images': 100,
        'model.type': 'CAE',
        MEAN: [76.5] * 3,
        LR: 0.002,
        'train_cfg.max_epochs': 80,
    }
    return own | {k.replace('__', '.'): v for k, v in changes.items()}


def losses(offset=0.0, steps=range(10, 1001, 10)):
    """The log of a training whose loss falls from 5 to about 2."""
    return [
        dict(
            step=s,
            loss=2 + 3 * np.exp(-s / 200) + offset,
            align=0.5 + offset,
            lr=0.1,
        )
        for s in steps
    ]


@pytest.fixture(scope='module')
def band() -> Band:
    runs = [losses(-0.1), losses(), losses(0.1)]
    return make_band('recipe', settings(), runs)


def test_make_band__is_wide_enough_for_the_trainings(band):
    assert band.steps[0] == 50
    assert band.steps[-1] == 1000
    assert len(band.steps) == 40
    for step in range(50, 1001, 7):
        loss = 2 + 3 * np.exp(-step / 200)
        for offset in (-0.25, 0.0, 0.25):
            assert band.side(step, loss + offset) == 0
    assert band.side(500, 1.7) == -1
    assert band.side(500, 3.0) == 1
    assert band.side(49, 100.0) == 0  # not known yet
    assert band.at('lr', 500) == pytest.approx(0.1)
    assert band.curves.keys() == {'loss', 'align'}
    assert band.side(500, 0.8, 'align') == 0
    assert band.side(500, 0.9, 'align') == 1
    assert band.limits(500, 'align') == pytest.approx((0.2, 0.8))
    assert band.perplexity == []
    assert band.at('perplexity', 500) is None


def test_make_band__has_a_least_margin():
    band = make_band('recipe', {}, [losses(), losses()])
    for step in (500, 900):
        loss = 2 + 3 * np.exp(-step / 200)
        assert band.side(step, loss * (1 + 0.9 * LEAST_MARGIN)) == 0
        assert band.side(step, loss * (1 + 1.5 * LEAST_MARGIN)) == 1


@pytest.mark.parametrize('runs', [[losses()], [losses(), losses()[:5]]])
def test_make_band__refuses_too_little(runs):
    with pytest.raises(ValueError, match='at least two trainings'):
        make_band('recipe', {}, runs)


def test_band__is_the_same_after_writing(band, tmp_path):
    band.save(tmp_path / 'new' / 'recipe.json')
    (again,) = read_bands(tmp_path / 'new')
    assert again.settings == band.settings
    assert again.curves == band.curves
    assert again.digest == digest_of(again.settings)
    assert read_bands(tmp_path / 'new' / 'recipe.json') == [again]


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('{', 'is not a loss band'),
        ('{"low": [1]}', 'is not a loss band'),
        (
            '{"recipe": "", "settings": {}, "digest": "", "steps": [1, 2], '
            '"lr": [], "curves": {"loss": {"low": [1], "high": [2]}}}',
            'its lists do not fit',
        ),
    ],
)
def test_read_band__refuses(tmp_path, text, fault):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(ValueError, match=fault):
        read_band(tmp_path / 'a.json')


def test_read_bands__names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='no loss band'):
        read_bands(tmp_path / 'none')


@pytest.mark.parametrize(
    ('changes', 'comparable'),
    [
        ({}, True),
        # Mistakes that the curve is to show.
        ({LR: 0.06}, True),
        ({LR: 0.00001}, True),
        ({MEAN: None}, True),
        ({MEAN: [0.0] * 3}, True),
        # Another config.
        ({LR: 0.004}, False),
        ({'images': 200}, False),
        ({'train_cfg.max_epochs': 40}, False),
        ({'model.width': 128}, False),
        ({LR: 0.06, 'images': 200}, False),
    ],
)
def test_find_band__by_what_differs(band, changes, comparable):
    own = settings(**changes)
    match = find_band(own, 'recipe', [band])
    assert match.comparable is comparable
    assert match.differences.keys() == changes.keys()
    other_name = find_band(own, 'mine', [band])
    assert (other_name is not None) is comparable


def test_find_band__an_equal_one_comes_first(band):
    other = make_band('other', settings(**{LR: 0.06}), [losses(), losses()])
    found = find_band(settings(**{LR: 0.06}), 'recipe', [other, band])
    assert found.band is other
    assert not found.differences


def test_curve_settings__leave_out_paths_speed_and_seed():
    config = dict(
        model=dict(type='CAE', init_cfg=dict(checkpoint='a.pth')),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, fused=True)),
        train_dataloader=dict(
            batch_size=8,
            num_workers=2,
            dataset=dict(
                type='FolderDataset',
                data_root='/x',
                pipeline=[dict(type='Mask', num_masking_patches=3)],
            ),
        ),
        train_cfg=dict(type='Loop', max_epochs=2),
        randomness=dict(seed=1),
    )
    pipeline = 'train_dataloader.dataset.pipeline.0.'
    assert curve_settings(config, 10, 2) == {
        'model.type': 'CAE',
        'optim_wrapper.optimizer.type': 'AdamW',
        LR: 0.1,
        'train_dataloader.batch_size': 8,
        'train_dataloader.dataset.type': 'FolderDataset',
        f'{pipeline}type': 'Mask',
        f'{pipeline}num_masking_patches': 3,
        'train_cfg.max_epochs': 2,
        'images': 10,
        'processes': 1 + 1,
    }


def test_packaged_bands__belong_to_their_recipes(subtests):
    """A recipe that changes needs a new band (docs/watch.md)."""
    assert packaged_bands()
    for band in packaged_bands():
        with subtests.test(band.recipe):
            config = load_config(str(find_config(band.recipe)))
            images = band.settings['images']
            own = curve_settings(config.to_dict(), images)
            assert own == band.settings
            assert band.digest == digest_of(own)
            assert 0.1 < band.inputs[1] < 2
            for curve in band.curves.values():
                assert np.less(curve['low'], curve['high']).all()
