# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Optimizer groups, mixed precision, and the recipe's learning rates."""

import math

import pytest
import torch
from helpers.recordings import TINY, cae_config
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS

from mmcae.config.search_path import find_config
from mmcae.engine import AmpOptimWrapper
from mmcae.engine.optimizers.merged_constructor import merge_groups

RECIPE = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'


@pytest.fixture(scope='module')
def recipe():
    return Config.fromfile(find_config(RECIPE))


def test_merge_groups__keeps_settings_and_order():
    a, b, c, d = (torch.nn.Parameter(torch.zeros(1)) for _ in range(4))
    d.requires_grad_(False)
    groups = [
        dict(params=[a], lr=1.0),
        dict(params=[b], lr=2.0),
        dict(params=[c, d], lr=1.0),
        dict(params=[d], lr=3.0),
    ]
    merged = merge_groups(groups)
    assert merged == [dict(params=[a, c], lr=1.0), dict(params=[b], lr=2.0)]


@pytest.mark.parametrize('target_encoder', ['shared', 'copy'])
def test_recipe__optimizer_has_exactly_the_trained_parameters(
    recipe, target_encoder
):
    model = MODELS.build(
        cae_config(
            TINY,
            target_encoder=target_encoder,
            target_generator=dict(
                type='mmcae.DALLEEncoder', n_hid=8, vocab_size=24
            ),
        )
    )
    wrapper = build_optim_wrapper(model, recipe.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, plain = wrapper.optimizer.param_groups
    assert (decayed['weight_decay'], plain['weight_decay']) == (0.05, 0.0)
    held = {
        name: group['weight_decay'] > 0
        for group in (decayed, plain)
        for name in (names[id(p)] for p in group['params'])
    }
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert held.keys() == trainable
    assert not any(
        name.startswith(('teacher', 'target_generator')) for name in held
    )
    for name, parameter in model.named_parameters():
        if name in held:
            no_decay = parameter.ndim == 1 or name.endswith('.bias')
            assert held[name] is not no_decay, name
    assert held['backbone.cls_token']
    assert held['neck.mask_token']


def test_constructor__omits_frozen_parameters_without_any_rule(recipe):
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    config = {**recipe.optim_wrapper, 'type': 'OptimWrapper'}
    for key in ('paramwise_cfg', 'loss_scale'):
        config.pop(key)
    wrapper = build_optim_wrapper(model, config)
    (group,) = wrapper.optimizer.param_groups
    assert group['params'] == [model.weight]


def official_lr(step, length, epochs, warmup, peak=1.5e-3, floor=1e-5):
    """The authors' schedule at ``length`` iterations an epoch."""
    warm, total = warmup * length, epochs * length
    if step < warm:
        return peak * step / (warm - 1)
    share = (step - warm) / (total - warm)
    return floor + (peak - floor) / 2 * (1 + math.cos(math.pi * share))


def config_lrs(config, length, epochs):
    """Learning rates that a config's schedulers give, step by step."""
    peak = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    schedulers = []
    for scheduler in config.param_scheduler:
        scheduler = scheduler.copy()
        scheduler.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        schedulers.append(
            kind.build_iter_from_epoch(
                optimizer=optimizer, epoch_length=length, **scheduler
            )
        )
    for _ in range(epochs * length):
        yield optimizer.param_groups[0]['lr']
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize(
    ('name', 'length', 'epochs', 'warmup'),
    [
        (RECIPE, 625, 300, 10),
        ('cae_beit-base-p16_8xb256-amp-coslr-800e_in1k', 25, 800, 20),
        ('cae_beit-base-p16_8xb256-amp-coslr-1600e_in1k', 25, 1600, 40),
        ('cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k', 25, 1600, 40),
    ],
)
def test_recipe__learning_rate_follows_the_authors_every_iteration(
    name, length, epochs, warmup
):
    config = Config.fromfile(find_config(name))
    assert config.train_cfg.max_epochs == epochs
    lrs = list(config_lrs(config, length, epochs))
    worst = max(
        abs(lr - official_lr(step, length, epochs, warmup))
        for step, lr in enumerate(lrs)
    )
    assert worst < 1e-3 * 1.5e-3
    if name == RECIPE:
        assert abs(lrs[1] - 2.40038e-7) < 2e-9
        assert lrs[6249] == pytest.approx(1.5e-3)
        assert lrs[6250] == pytest.approx(1.5e-3)
        assert lrs[-1] == pytest.approx(1.00000001e-5, rel=1e-6)


def test_large__is_the_intended_recipe_and_its_script_the_literal_one():
    names = ('cae_beit-large-p16', 'cae_beit-large-p16-dec768')
    intended, literal = (
        Config.fromfile(
            find_config(f'{name}_32xb64-amp-coslr-1600e_in1k')
        ).model
        for name in names
    )
    assert (intended.neck.embed_dims, intended.neck.num_heads) == (1024, 16)
    assert (literal.neck.embed_dims, literal.neck.num_heads) == (768, 12)
    for model, family in ((intended, 'beit'), (literal, 'xavier')):
        for part in (model.backbone, model.neck):
            assert part.layer_scale_init_value == 1e-5
            assert part.weight_init == family
            assert part.drop_path_rate == 0.1


@pytest.mark.skipif(torch.cuda.is_available(), reason='the CPU form')
@pytest.mark.parametrize('dtype', [None, 'bfloat16', 'float16'])
def test_amp__runs_in_bfloat16_on_a_cpu(dtype):
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = AmpOptimWrapper(
        optimizer=optimizer, dtype=dtype, clip_grad=dict(max_norm=1.0)
    )
    before = model.weight.clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().pow(2).sum())
    assert not torch.equal(model.weight, before)
    wrapper.load_state_dict(wrapper.state_dict())
