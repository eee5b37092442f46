# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Layer-wise learning-rate decay of the fine-tuning recipes."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

import mmcae  # noqa: F401
from mmcae.config.search_path import find_config
from mmcae.engine import LayerDecayOptimWrapperConstructor

BASE = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'
LARGE = 'beit-large-p16_cae-pre_8xb64-coslr-50e_in1k'


def build(name):
    """Build a recipe's model and optimizer without memory for weights."""
    config = Config.fromfile(find_config(name))
    with torch.device('meta'):
        model = MODELS.build(config.model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    settings = {
        names[id(p)]: (group['lr'] / config.optim_wrapper.optimizer.lr, group)
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    return model, wrapper.optimizer, settings


@pytest.fixture(scope='module')
def base():
    return build(BASE)


def test_scales__equal_the_authors_for_base(base):
    _, _, settings = base
    expected = {
        'backbone.cls_token': 0.003697,
        'backbone.patch_embed.projection.weight': 0.003697,
        'backbone.patch_embed.projection.bias': 0.003697,
        'backbone.layers.0.attn.qkv.weight': 0.005688,
        'backbone.layers.0.attn.relative_position_bias_table': 0.005688,
        'backbone.layers.10.gamma_1': 0.65**2,
        'backbone.layers.11.ffn.layers.1.bias': 0.65,
        'backbone.ln2.weight': 1.0,
        'head.fc.weight': 1.0,
        'head.fc.bias': 1.0,
    }
    for name, scale in expected.items():
        assert settings[name][0] == pytest.approx(scale, abs=5e-7), name


def test_scales__equal_the_authors_for_large():
    _, optimizer, settings = build(LARGE)
    assert settings['backbone.cls_token'][0] == pytest.approx(0.75**25)
    for block in (0, 7, 23):
        name = f'backbone.layers.{block}.ln1.weight'
        assert settings[name][0] == pytest.approx(0.75 ** (24 - block))
    assert settings['head.fc.weight'][0] == 1.0
    assert len(optimizer.param_groups) == 2 * (24 + 2)


def test_decay__excludes_only_vectors_class_token_and_positions(base):
    model, _, settings = base
    for name, parameter in model.named_parameters():
        if name not in settings:
            continue
        spared = parameter.ndim == 1 or name == 'backbone.cls_token'
        expected = 0.0 if spared else 0.05
        assert settings[name][1]['weight_decay'] == expected, name
    tables = [n for n in settings if n.endswith('position_bias_table')]
    assert len(tables) == 12


def test_optimizer__has_trained_parameters_in_few_groups(base):
    model, optimizer, settings = base
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert settings.keys() == trainable
    assert 'backbone.pos_embed' not in settings
    held = sum(p.numel() for g in optimizer.param_groups for p in g['params'])
    assert held == 86_530_984
    assert sum(p.numel() for p in model.parameters()) == 86_682_280
    # With and without decay for each of 14 depths.
    assert len(optimizer.param_groups) == 28
    keys = set(optimizer.param_groups[0])
    assert {'lr_scale', 'layer_id'} <= keys
    assert 'param_name' not in keys


def test_constructor__is_registered_and_needs_depths():
    config = dict(
        type='OptimWrapper',
        constructor='mmcae.LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=1.0),
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )
    assert LayerDecayOptimWrapperConstructor.__name__ in config['constructor']
    with pytest.raises(NotImplementedError, match='get_layer_depth'):
        build_optim_wrapper(torch.nn.Linear(2, 2), config)
