# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The segmentation recipes against the authors', number by number."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS

import mmcae  # noqa: F401
from mmcae.utils import load_config

pytest.importorskip('mmseg')

NAME = 'upernet_beit-{}_8xb2-amp-160k_ade20k-512x512'
# Peak learning rate for each encoder (size and epochs of pretraining).
PEAKS = {
    'base-p16_cae-300e-pre': 3e-4,
    'base-p16_cae-800e-pre': 2e-4,
    'base-p16_cae-1600e-pre': 1e-4,
    'large-p16_cae-1600e-pre': 4e-5,
}
LARGE = 'large-p16_cae-1600e-pre'


@pytest.fixture(params=PEAKS)
def recipe(request):
    return request.param, load_config(NAME.format(request.param))


@pytest.fixture(scope='module', params=['base-p16_cae-300e-pre', LARGE])
def optimized(request):
    """Model at full size without memory, and settings by tensor name."""
    config = load_config(NAME.format(request.param))
    with torch.device('meta'):
        model = MODELS.build(config.model)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    groups = {id(p): g for g in optimizer.param_groups for p in g['params']}
    settings = {
        name: groups.get(id(parameter))
        for name, parameter in model.named_parameters()
    }
    return request.param, model, settings


def test_recipe__optimizer_and_length(recipe):
    size, config = recipe
    large = size == LARGE
    wrapper = config.optim_wrapper
    assert wrapper.type == 'mmcae.AmpOptimWrapper'
    assert wrapper.get('clip_grad') is None
    assert wrapper.get('accumulative_counts', 1) == 1
    assert wrapper.optimizer == dict(
        type='AdamW',
        lr=PEAKS[size],
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
        fused=True,  # the same mathematics in one kernel
    )
    assert wrapper.paramwise_cfg.layer_decay_rate == (0.95 if large else 0.65)
    assert config.train_cfg.max_iters == 160_000
    assert config.train_cfg.val_interval == 16_000
    checkpoint = config.default_hooks.checkpoint
    assert checkpoint.interval == (32_000 if large else 8000)
    assert not checkpoint.by_epoch
    assert 8 * config.train_dataloader.batch_size == 16
    assert config.auto_scale_lr.base_batch_size == 16
    assert config.randomness.seed == 0


def test_recipe__model(recipe):
    size, config = recipe
    large = size == LARGE
    width = 1024 if large else 768
    model = config.model
    backbone = model.backbone.copy()
    initial = backbone.pop('init_cfg')
    assert f'epoch_{size.split("-")[-2][:-1]}.pth' in initial.checkpoint
    assert initial.prefix == 'backbone.'
    assert backbone == dict(
        type='mmcae.CAEViT',
        arch='large' if large else 'base',
        img_size=(512, 512),
        patch_size=16,
        out_type='featmap',
        out_indices=(7, 11, 15, 23) if large else (3, 5, 7, 11),
        final_norm=False,
        use_abs_pos_emb=True,
        use_rel_pos_bias=True,
        drop_path_rate=0.15 if large else 0.1,
        layer_scale_init_value=1e-5 if large else 0.1,
        **(dict(weight_init='beit') if large else {}),
    )
    head, auxiliary = model.decode_head, model.auxiliary_head
    assert (head.type, auxiliary.type) == ('mmseg.UPerHead', 'mmseg.FCNHead')
    assert head.in_channels == [width] * 4
    assert head.in_index == [0, 1, 2, 3]
    assert head.channels == width
    assert head.pool_scales == (1, 2, 3, 6)
    assert auxiliary.in_channels == width
    assert auxiliary.in_index == 2
    assert auxiliary.channels == 256
    assert auxiliary.num_convs == 1
    assert not auxiliary.concat_input
    for part, weight in ((head, 1.0), (auxiliary, 0.4)):
        assert part.dropout_ratio == 0.1
        assert part.num_classes == 150
        assert not part.align_corners
        assert part.norm_cfg.type == 'SyncBN'
        assert part.loss_decode.type == 'mmseg.CrossEntropyLoss'
        assert part.loss_decode.loss_weight == weight
    assert model.neck.norm_cfg.type == 'SyncBN'
    assert model.test_cfg == dict(
        mode='slide', crop_size=(512, 512), stride=(341, 341)
    )
    preprocessor = model.data_preprocessor
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor.std == [58.395, 57.12, 57.375]
    assert preprocessor.bgr_to_rgb
    assert preprocessor.size == (512, 512)
    assert (preprocessor.pad_val, preprocessor.seg_pad_val) == (0, 255)


def test_recipe__training_pipeline(recipe):
    _, config = recipe
    steps = config.train_dataloader.dataset.pipeline
    assert [step.pop('type') for step in steps] == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'RandomResize',
        'RandomCrop',
        'RandomFlip',
        'PhotoMetricDistortion',
        'PackSegInputs',
    ]
    _, annotations, resize, crop, flip, distortion, _ = steps
    assert annotations == dict(reduce_zero_label=True)
    assert resize == dict(
        scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True
    )
    assert crop == dict(crop_size=(512, 512), cat_max_ratio=0.75)
    assert flip == dict(prob=0.5)
    assert distortion == {}


def test_recipe__tests_at_one_scale_or_with_tta_at_six(recipe):
    _, config = recipe
    (resize,) = (
        step
        for step in config.test_dataloader.dataset.pipeline
        if step.type == 'Resize'
    )
    assert resize == dict(type='Resize', scale=(2048, 512), keep_ratio=True)
    scales, flips, *_ = config.tta_pipeline[1].transforms
    ratios = [step.scale[1] / 512 for step in scales]
    assert ratios == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    assert [step.scale[0] / 2048 for step in scales] == ratios
    assert all(step.keep_ratio for step in scales)
    assert [step.prob for step in flips] == [0.0, 1.0]


def test_model__sizes(optimized):
    size, model, settings = optimized
    total = sum(p.numel() for p in model.parameters())
    assert total == (441_448_236 if size == LARGE else 163_868_012)
    table = model.backbone.layers[0].attn.relative_position_bias_table
    assert table.shape == (3972, 16 if size == LARGE else 12)
    assert model.backbone.pos_embed.shape[1] == 1 + 32 * 32
    untrained = [name for name, group in settings.items() if group is None]
    assert untrained == ['backbone.pos_embed']
    rates = [layer.drop_path.drop_prob for layer in model.backbone.layers]
    depth, last = len(rates), 0.15 if size == LARGE else 0.1
    assert rates == pytest.approx(
        [last * i / (depth - 1) for i in range(depth)]
    )


def test_optimizer__scale_of_each_tensor(optimized):
    size, _, settings = optimized
    decay, depth = (0.95, 24) if size == LARGE else (0.65, 12)
    seen = set()
    for name, group in settings.items():
        if group is None:
            continue
        part = name.split('.')
        if part[0] != 'backbone':
            layer = depth + 1  # upsampling and heads
        elif part[1] == 'layers':
            layer = int(part[2]) + 1
        else:
            assert part[1] in ('cls_token', 'patch_embed'), name
            layer = 0
        expected = decay ** (depth + 1 - layer)
        assert group['lr'] == pytest.approx(PEAKS[size] * expected), name
        seen.add(part[0])
    assert seen == {'backbone', 'neck', 'decode_head', 'auxiliary_head'}


def test_optimizer__decay_of_each_tensor(optimized):
    """Matrices and relative position tables are decayed."""
    _, model, settings = optimized
    for name, parameter in model.named_parameters():
        if settings[name] is None:
            continue
        spared = parameter.ndim == 1 or name == 'backbone.cls_token'
        expected = 0.0 if spared else 0.05
        assert settings[name]['weight_decay'] == expected, name


def test_schedule__is_the_same_for_all(recipe):
    base = load_config(NAME.format('base-p16_cae-300e-pre'))
    assert recipe[1].param_scheduler == base.param_scheduler


@pytest.mark.parametrize(
    'last', [1501, pytest.param(159_999, marks=pytest.mark.slow)]
)
def test_schedule__gives_the_authors_learning_rates(last):
    config = load_config(NAME.format('base-p16_cae-300e-pre'))
    peak, scale = PEAKS['base-p16_cae-300e-pre'], 0.65**13
    # Two groups show that the schedule keeps the scale of each.
    optimizer = torch.optim.SGD(
        [
            dict(params=[torch.zeros(1)], lr=peak),
            dict(params=[torch.zeros(1)], lr=peak * scale),
        ],
        lr=peak,
    )
    schedulers = [
        PARAM_SCHEDULERS.build(dict(item, optimizer=optimizer))
        for item in config.param_scheduler
    ]
    measured = {}
    for step in range(last + 1):
        if step in (0, 1, 749, 1499, 1500, 1501, 80_000, last):
            measured[step] = [group['lr'] for group in optimizer.param_groups]
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    for step, rates in measured.items():
        expected = peak * (1 - step / 160_000)
        if step < 1500:
            expected *= 1 - (1 - step / 1500) * (1 - 1e-6)
        wanted = [expected, expected * scale]
        assert rates == pytest.approx(wanted, rel=1e-8), step
    assert last in measured
    assert config.train_cfg.max_iters == 160_000


def test_zoo__names_carry_the_quoted_result(recipe):
    from mmpretrain.apis.model import ModelHub

    size, config = recipe
    quoted = {
        'base-p16_cae-300e-pre': 48.1,
        'base-p16_cae-800e-pre': 49.7,
        'base-p16_cae-1600e-pre': 50.3,
        LARGE: 54.9,
    }
    entry = ModelHub.get(NAME.format(size))
    (result,) = entry.results
    assert result.metrics == dict(mIoU=quoted[size])
    assert result.dataset == 'ADE20K'
    assert entry.metadata.data['Source of Results'] == 'quoted (official)'
    batch = 8 * config.train_dataloader.batch_size
    assert entry.metadata.data['Batch Size'] == batch
