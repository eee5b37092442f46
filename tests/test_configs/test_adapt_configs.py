# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Recipes that continue from weights: what they change, what they load."""

import logging

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS

from mmcae.cli.planning.adaptation import ADAPTATION
from mmcae.config.overrides import load_config

RECIPES = {
    'cae_tiny-p8_1xb32-adapt-from-digits-coslr-8e_emoji-48px': (
        'cae_tiny-p8_1xb32-coslr-30e_emoji-48px'
    ),
    'cae_tiny-p8_1xb32-adapt-from-emoji-coslr-20e_digits-32px': (
        'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
    ),
}


@pytest.mark.parametrize(('name', 'scratch'), RECIPES.items())
def test_schedule__has_the_measured_settings(name, scratch):
    config, usual = load_config(name), load_config(scratch)
    settings = ADAPTATION
    lr = usual.optim_wrapper.optimizer.lr
    optimizer = config.optim_wrapper
    assert optimizer.optimizer.lr == pytest.approx(settings.peak_factor * lr)
    assert optimizer.paramwise_cfg.layer_decay_rate == settings.layer_decay
    epochs = round(settings.epochs_share * usual.train_cfg.max_epochs)
    assert config.train_cfg.max_epochs == epochs
    warmup, cosine = config.param_scheduler
    assert warmup.end == cosine.begin
    assert warmup.end == max(1, round(settings.warmup_share * epochs))
    assert cosine.end - cosine.begin == cosine.T_max


@pytest.mark.parametrize(('name', 'scratch'), RECIPES.items())
def test_images__are_those_from_scratch(name, scratch):
    config, usual = load_config(name), load_config(scratch)
    assert config.train_dataloader == usual.train_dataloader
    assert config.model.data_preprocessor == usual.model.data_preprocessor
    assert config.model.backbone.img_size == usual.model.backbone.img_size
    assert config.model.neck.num_classes == usual.model.neck.num_classes


@pytest.mark.parametrize('name', RECIPES)
def test_load_from__all_but_the_codes_and_the_grid(name, caplog):
    """Only the decoder's last layer keeps its initial weights."""
    config = load_config(name)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    file = load_checkpoint(
        model, config.load_from, 'cpu', logger=logging.getLogger('adapt')
    )
    start = file.get('state_dict', file)
    kept = set()
    for key, value in model.state_dict().items():
        if start[key].shape != value.shape:
            kept.add(key)
        else:
            assert torch.equal(value, start[key].to(value)), key
    assert kept == {
        'backbone.pos_embed',
        'neck.head.weight',
        'neck.head.bias',
    }
    for key in ('neck.head.weight', 'neck.head.bias'):
        assert torch.equal(before[key], model.state_dict()[key])
