# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The recipes of linear and attentive probing, and what they compute."""

import copy
import json
import math

import numpy as np
import pytest
import torch
import yaml
from helpers.recordings import Recording, relative_error
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from mmcae.checkpoint.official import from_official
from mmcae.config.search_path import find_config, resource_root

CONFIGS = {
    (size, probe): f'beit-{size}-p16_cae-pre_{batch}-{probe}-coslr-90e_in1k'
    for size in ('base', 'large')
    for probe, batch in (('linear', '8xb2048'), ('attentive', '8xb1024'))
}
ALL = pytest.mark.parametrize(('size', 'probe'), CONFIGS)
PROBES = pytest.mark.parametrize('probe', ['linear', 'attentive'])


def config_of(size, probe):
    return Config.fromfile(find_config(CONFIGS[size, probe]))


def shrink(model, num_classes=7, depth=3):
    """Give a config's model the sizes of the recording, in place."""
    model.backbone.update(
        arch=dict(
            embed_dims=32,
            num_layers=depth,
            num_heads=4,
            feedforward_channels=128,
        ),
        img_size=64,
        layer_scale_init_value=0.1,
        frozen_stages=depth,
    )
    model.backbone.pop('init_cfg')
    if 'neck' in model:
        model.neck.input_features = 32
    else:
        model.head.num_heads = 4
    model.head.update(num_classes=num_classes, in_channels=32)
    return model


@PROBES
def test_probe__computes_what_was_recorded(probe):
    recording = Recording('evaluation_tiny')
    model = MODELS.build(shrink(config_of('base', probe).model))
    weights = from_official(recording.group(f'{probe}/weights'))
    model.load_state_dict(weights, strict=True)
    images, outputs = recording['inputs/images'], f'{probe}/outputs'
    with torch.no_grad():
        running = model.eval()(images)
        batch = model.train()(images)
    for logits, kind in ((running, 'eval'), (batch, 'batch_stats')):
        reference = recording[f'{outputs}/logits_{kind}']
        assert relative_error(logits, reference) < 1e-5, kind
    assert relative_error(running, batch) > 1e-2


@ALL
def test_probe__builds_at_full_size_and_trains_the_head_alone(size, probe):
    config = config_of(size, probe)
    assert config.default_scope == 'mmpretrain'
    model_config = copy.deepcopy(config.model)
    with torch.device('meta'):
        model = MODELS.build(model_config)
    model.train()
    assert not any(p.requires_grad for p in model.backbone.parameters())
    # Only BatchNorm behaves differently in training.
    assert not any(
        module.training
        for module in model.backbone.modules()
        if isinstance(module, nn.Dropout | nn.LayerNorm)
    )
    changing = [
        module
        for module in model.modules()
        if module.training
        and (
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            or getattr(module, 'drop_prob', 0)
            or getattr(module, 'p', 0)
        )
    ]
    (norm,) = changing
    assert isinstance(norm, nn.BatchNorm1d)
    assert not norm.affine
    assert norm.momentum == 0.1
    assert norm.eps == {'linear': 1e-6, 'attentive': 1e-5}[probe]
    width, classes = {'base': 768, 'large': 1024}[size], 1000
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    expected = {
        ('base', 'linear'): width * classes + classes,
        ('large', 'linear'): width * classes + classes,
        ('base', 'attentive'): 3_135_976,
        ('large', 'attentive'): 5_231_592 - 2_048,
    }
    assert trained == expected[size, probe]
    encoder = sum(p.numel() for p in model.backbone.parameters())
    assert encoder == {'base': 85_807_872, 'large': 303_326_208}[size]


@ALL
def test_recipe__numbers_are_the_authors(size, probe):
    config = config_of(size, probe)
    batch = 8 * config.train_dataloader.batch_size
    optimizer = config.optim_wrapper.optimizer
    assert config.optim_wrapper.constructor.startswith('mmcae.')
    assert 'clip_grad' not in config.optim_wrapper
    assert config.auto_scale_lr.base_batch_size == batch
    if probe == 'linear':
        assert batch == 16384
        assert optimizer == dict(
            type='mmcae.LARS',
            lr=0.1 * batch / 256,
            momentum=0.9,
            weight_decay=0.0,
            trust_coefficient=0.001,
        )
        assert config.model.backbone.out_type == 'cls_token'
    else:
        assert batch == 8192
        assert optimizer == dict(
            type='SGD',
            lr=0.4,
            momentum=0.9,
            nesterov=True,
            weight_decay=0.0,
        )
        assert config.model.backbone.out_type == 'raw'
        heads = {'base': 12, 'large': 16}[size]
        assert config.model.head.num_heads == heads
    assert (
        config.model.backbone.layer_scale_init_value
        == ({'base': 0.1, 'large': 1e-5}[size])
    )
    # Without it, each GPU would evaluate with its own running statistics.
    assert dict(type='SyncBuffersHook') in config.custom_hooks
    assert config.data_preprocessor.mean == [123.675, 116.28, 103.53]


def official_lr(probe, step, length):
    """The authors' learning rate, per iteration."""
    warm, total = 10 * length, 90 * length
    peak, floor = {'linear': (6.4, 0.0), 'attentive': (0.4, 1e-6)}[probe]
    if step < warm:
        return peak * step / (warm if probe == 'linear' else warm - 1)
    share = (step - warm) / (total - warm)
    return floor + (peak - floor) / 2 * (1 + math.cos(math.pi * share))


@ALL
@pytest.mark.parametrize('length', [25, 78])
def test_recipe__learning_rate_follows_the_authors(size, probe, length):
    config = config_of(size, probe)
    peak = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    schedulers = []
    for scheduler in config.param_scheduler:
        assert scheduler.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        schedulers.append(
            kind.build_iter_from_epoch(
                optimizer=optimizer, epoch_length=length, **scheduler
            )
        )
    worst = 0.0
    for step in range(config.train_cfg.max_epochs * length):
        lr = optimizer.param_groups[0]['lr']
        worst = max(worst, abs(lr - official_lr(probe, step, length)))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert worst < 1e-5 * peak
    assert config.train_cfg.max_epochs == 90


@pytest.fixture
def imagenet(tmp_path):
    """Two classes of two photographs, laid out as ImageNet is."""
    from sklearn.datasets import load_sample_images

    root = tmp_path / 'imagenet'
    for split in ('train', 'val'):
        for label, pixels in enumerate(load_sample_images().images):
            folder = root / split / f'n0000000{label}'
            folder.mkdir(parents=True)
            for crop in range(2):
                image = Image.fromarray(pixels[: 320 - 40 * crop, 10:500])
                image.save(folder / f'{crop}.png')
    return root


def tiny_runner_config(size, probe, root, work_dir):
    config = config_of(size, probe)
    shrink(config.model, num_classes=2, depth=2)
    config.data_preprocessor.num_classes = 2
    config.work_dir = str(work_dir)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config[name]
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(
            data_root=str(root), metainfo=dict(classes=['china', 'flower'])
        )
    config.train_dataloader.dataset.pipeline[1].size = 64
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.param_scheduler = []
    config.default_hooks.logger.interval = 1
    config.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=100, save_last=False
    )
    return config


@ALL
def test_recipe__takes_a_step_and_says_what_it_measures(
    size, probe, imagenet, tmp_path
):
    config = tiny_runner_config(size, probe, imagenet, tmp_path / 'work')
    runner = Runner.from_cfg(config)
    before = {}
    runner.model.register_forward_pre_hook(
        lambda model, *_: before.update(copy.deepcopy(model.state_dict()))
    )
    runner.train()
    after = runner.model.state_dict()
    changed = {k for k in after if not torch.equal(before[k], after[k])}
    assert 'head.fc.weight' in changed
    assert {key.partition('.')[0] for key in changed} <= {'neck', 'head'}
    loss = runner.message_hub.get_scalar('train/loss').current()
    assert np.isfinite(loss)
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    feature = {
        'linear': 'the class token',
        'attentive': 'all tokens, class token first',
    }[probe]
    line = next(item for item in log.splitlines() if 'Probe of' in item)
    assert f'{feature} after block 2 of 2, after the final norm' in line
    rate = {'linear': 'LARS, peak learning rate 6.4', 'attentive': '0.4'}
    assert rate[probe] in line
    assert 'batch 2 x 1 processes x 1 accumulated = 2, 1 iterations' in line
    assert 'This is no probe' not in log


@PROBES
def test_recipe__evaluates_top_1_and_5(probe, imagenet, tmp_path):
    config = tiny_runner_config('base', probe, imagenet, tmp_path / 'work')
    for step in config.test_dataloader.dataset.pipeline:
        if step.type.endswith('CenterCrop'):
            assert step.crop_size == 224
            step.crop_size = 64
    config.test_evaluator.topk = (1, 2)
    metrics = Runner.from_cfg(config).test()
    assert metrics['accuracy/top2'] == 100.0


@PROBES
def test_recipe__runs_its_own_loop(probe, imagenet, tmp_path):
    """Epochs, schedule, accumulation and evaluation, as configured."""
    config = tiny_runner_config('base', probe, imagenet, tmp_path / 'work')
    original = config_of('base', probe)
    for name in ('train_cfg', 'val_cfg', 'param_scheduler'):
        config[name] = original[name]
    config.val_dataloader = copy.deepcopy(config.test_dataloader)
    config.val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1,))
    config.val_dataloader.dataset.pipeline[2].crop_size = 64
    config.train_cfg.max_epochs = 3
    config.optim_wrapper.accumulative_counts = 2
    runner = Runner.from_cfg(config)
    runner.train()
    (log,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    rates = [record['lr'] for record in records if 'lr' in record]
    expected = [official_lr(probe, step, length=2) for step in range(6)]
    assert rates == pytest.approx(expected, abs=1e-5)
    assert sum('accuracy/top1' in record for record in records) == 3
    text = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert 'x 2 accumulated = 4, 3 epochs = 6 iterations' in text


def test_summary__warns_of_an_encoder_that_is_trained(imagenet, tmp_path):
    config = tiny_runner_config('base', 'linear', imagenet, tmp_path / 'work')
    config.model.backbone.frozen_stages = 1
    Runner.from_cfg(config).train()
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert 'This is no probe' in log
    assert 'frozen_stages' in log


def test_pipeline__evaluation_is_pils_bicubic_and_a_centered_square():
    from mmcv.transforms import Compose

    from mmcae.registry import TRANSFORMS

    pixels = np.random.default_rng(0).integers(0, 256, (333, 501, 3), 'uint8')
    steps = config_of('base', 'linear').test_pipeline[1:3]
    results = Compose([TRANSFORMS.build(step) for step in steps])(
        dict(img=pixels)
    )
    width = int(256 * 501 / 333)
    image = Image.fromarray(pixels).resize((width, 256), Image.BICUBIC)
    left, top = round((width - 224) / 2), 16
    expected = image.crop((left, top, left + 224, top + 224))
    assert np.array_equal(results['img'], np.asarray(expected))


@pytest.mark.parametrize('scheme', ['ours', 'official'])
def test_checkpoint__of_any_origin_fills_the_encoder(scheme, tmp_path):
    recording = Recording('evaluation_tiny')
    encoder = {
        f'encoder.{key}': value
        for key, value in recording.group('linear/weights').items()
        if not key.startswith('head.')
    }
    state = dict(model=encoder)
    if scheme == 'ours':
        state = dict(state_dict=from_official(encoder), meta={})
    file = tmp_path / 'checkpoint.pth'
    torch.save(state, file)
    config = config_of('base', 'linear').model
    init_cfg = copy.deepcopy(config.backbone.init_cfg)
    init_cfg.checkpoint = str(file)
    shrink(config)
    config.backbone.init_cfg = init_cfg
    model = MODELS.build(config)
    model.init_weights()
    weight = model.head.fc.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert not model.head.fc.bias.any()
    for name in ('weight', 'bias'):
        loaded = getattr(model.backbone.ln1, name)
        assert torch.equal(loaded, encoder[f'encoder.norm.{name}'])
    last = model.backbone.layers[2].attn.q_bias
    assert torch.equal(last, encoder['encoder.blocks.2.attn.q_bias'])


def test_metafile__lists_the_probes():
    text = (resource_root() / 'configs/cae/metafile.yml').read_text()
    models = {item['Name']: item for item in yaml.safe_load(text)['Models']}
    for name in CONFIGS.values():
        config = Config.fromfile(find_config(name))
        meta = models[name]['Metadata']
        assert meta['Epochs'] == config.train_cfg.max_epochs
        assert meta['Batch Size'] == 8 * config.train_dataloader.batch_size
        with torch.device('meta'):
            model = MODELS.build(config.model)
        count = sum(p.numel() for p in model.parameters())
        assert meta['Parameters'] == count
