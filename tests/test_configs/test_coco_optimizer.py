# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Detection recipes: settings of each tensor, and of each iteration."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope

import mmcae  # noqa: F401
from mmcae.utils import load_config

pytest.importorskip('mmdet.models')

NAME = 'mask-rcnn_beit-{}_16xb2-amp-12e_coco'
BASE, LARGE = 'base-p16_cae-300e-pre', 'large-p16_cae-1600e-pre'


@pytest.fixture(scope='module', params=[BASE, LARGE])
def optimized(request):
    """Model at full size without memory, and settings by tensor name."""
    config = load_config(NAME.format(request.param))
    with (
        torch.device('meta'),
        DefaultScope.overwrite_default_scope('mmdet'),
    ):
        model = MODELS.build(config.model)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    groups = {id(p): g for g in optimizer.param_groups for p in g['params']}
    settings = {
        name: groups.get(id(parameter))
        for name, parameter in model.named_parameters()
    }
    return request.param, model, settings


def test_model__sizes(optimized):
    size, model, settings = optimized
    total = sum(p.numel() for p in model.parameters())
    assert total == (338_177_776 if size == LARGE else 114_891_504)
    assert model.backbone.pos_embed.shape[1] == 1 + 14 * 14
    untrained = [name for name, group in settings.items() if group is None]
    assert untrained == ['backbone.pos_embed']
    assert not any('relative_position' in name for name in settings)
    rates = [layer.drop_path.drop_prob for layer in model.backbone.layers]
    depth = len(rates)
    assert rates == pytest.approx(
        [0.2 * i / (depth - 1) for i in range(depth)]
    )


def test_optimizer__scale_of_each_tensor(optimized):
    size, _, settings = optimized
    peak, decay, depth = (
        (2e-4, 0.85, 24) if size == LARGE else (3e-4, 0.75, 12)
    )
    seen = set()
    for name, group in settings.items():
        if group is None:
            continue
        part = name.split('.')
        if part[0] != 'backbone':
            layer = depth + 1  # pyramids and heads
        elif part[1] == 'layers':
            layer = int(part[2]) + 1
        else:
            assert part[1] in ('cls_token', 'patch_embed'), name
            layer = 0
        expected = peak * decay ** (depth + 1 - layer)
        assert group['lr'] == pytest.approx(expected), name
        seen.add(part[0])
    assert seen == {'backbone', 'neck', 'rpn_head', 'roi_head'}


def test_optimizer__decay_of_each_tensor(optimized):
    """Vectors and the class token are not decayed."""
    _, model, settings = optimized
    for name, parameter in model.named_parameters():
        if settings[name] is None:
            continue
        plain = parameter.ndim == 1 or name == 'backbone.cls_token'
        expected = 0.0 if plain else 0.05
        assert settings[name]['weight_decay'] == expected, name


@pytest.mark.parametrize('size', [BASE, LARGE])
def test_schedule__gives_the_authors_learning_rates(size):
    """For epochs of 700 iterations, and two groups of tensors."""
    config = load_config(NAME.format(size))
    peak, scale, epoch = config.optim_wrapper.optimizer.lr, 0.75**13, 700
    optimizer = torch.optim.SGD(
        [
            dict(params=[torch.zeros(1)], lr=peak),
            dict(params=[torch.zeros(1)], lr=peak * scale),
        ],
        lr=peak,
    )
    by_iteration, by_epoch = (
        PARAM_SCHEDULERS.build(dict(item, optimizer=optimizer))
        for item in config.param_scheduler
    )
    assert not by_iteration.by_epoch
    assert by_epoch.by_epoch
    expected = {
        0: 0.001, 1: 0.001 + 0.999 / 500, 250: 0.5005, 499: 0.998002,
        500: 1.0, 9 * epoch - 1: 1.0, 9 * epoch: 0.1, 11 * epoch - 1: 0.1,
        11 * epoch: 0.01, 12 * epoch - 1: 0.01,
    }  # fmt: skip
    for step in range(config.train_cfg.max_epochs * epoch):
        if step in expected:
            rates = [group['lr'] for group in optimizer.param_groups]
            wanted = peak * expected.pop(step)
            assert rates == pytest.approx([wanted, wanted * scale]), step
        optimizer.step()
        by_iteration.step()
        if (step + 1) % epoch == 0:
            by_epoch.step()
    assert not expected
