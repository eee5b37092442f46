# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every config, with a small model, takes a step on photographs.

The configs are those in the folder, so a new one is tested without being
listed. Data pipeline, optimizer, hooks and losses are the config's own.
"""

import copy
import math

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from PIL import Image
from sklearn.datasets import load_sample_images

import mmcae  # noqa: F401
from mmcae.config.search_path import list_configs
from mmcae.models.backbones.arch import arch_settings

HEADS, DEPTH = 2, 2
# Segmentors and detectors have tests and data of their own.
PATHS = [path for path in list_configs() if 'transfer' not in path.parts]


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Two classes of two crops, in ImageNet's layout."""
    root = tmp_path_factory.mktemp('photographs')
    for label, pixels in enumerate(load_sample_images().images):
        folder = root / 'train' / f'n0000000{label}'
        folder.mkdir(parents=True)
        for crop in range(2):
            image = Image.fromarray(pixels[::2, crop:300:2])
            image.save(folder / f'{crop}.jpg')
    return root


def narrow(width: int) -> int:
    """Shrink a width; equal widths stay equal, others stay different."""
    return width // 32 if width >= 256 else width


def shrink_tokenizer(tokenizer: ConfigDict) -> None:
    tokenizer.pop('init_cfg', None)
    if tokenizer.type == 'mmcae.DALLEEncoder':
        tokenizer.n_hid = 4
    else:
        tokenizer.hidden_channels = [8] * int(math.log2(tokenizer.downsample))


def shrink_model(model: ConfigDict) -> None:
    """A narrow, shallow model of the same parts."""
    if 'backbone' not in model:
        return shrink_tokenizer(model)
    backbone, neck = model.backbone, model.get('neck')
    width = narrow(arch_settings(backbone.arch)['embed_dims'])
    backbone.pop('init_cfg', None)
    backbone.arch = dict(
        embed_dims=width,
        num_layers=DEPTH,
        num_heads=HEADS,
        feedforward_channels=2 * width,
    )
    if backbone.get('frozen_stages', -1) > 0:
        backbone.frozen_stages = DEPTH
    if 'target_generator' in model:
        shrink_tokenizer(model.target_generator)
        neck.update(embed_dims=narrow(neck.embed_dims), num_heads=HEADS)
        return None
    if neck is not None:
        neck.input_features = width
    model.head.in_channels = width
    if 'num_heads' in model.head:
        model.head.num_heads = HEADS
    return None


def one_step(cfg: Config, photographs, work_dir) -> Runner:
    """Train one iteration on two photographs, at the peak learning rate."""
    shrink_model(cfg.model)
    loader = cfg.train_dataloader
    loader.update(
        batch_size=2,
        num_workers=0,
        persistent_workers=False,
        pin_memory=False,
    )
    loader.dataset.data_root = str(photographs)
    if 'split' in loader.dataset:  # ImageNet's 1000 classes are not here
        loader.dataset.metainfo = dict(classes=['china', 'flower'])
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
    for phase in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{phase}_{part}', None)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=100, save_last=False
    )
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir = str(work_dir)
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_config__takes_a_step(path, photographs, tmp_path, monkeypatch):
    # Formatting the config for the log takes half of a step's time.
    monkeypatch.setattr(Config, 'pretty_text', '')
    runner = one_step(Config.fromfile(path), photographs, tmp_path)
    before = {}
    runner.model.register_forward_pre_hook(
        lambda model, *_: before.update(copy.deepcopy(model.state_dict()))
    )
    runner.train()
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    trained, changed = set(), set()
    for name, parameter in runner.model.named_parameters():
        if name.startswith('target_generator.'):
            assert not parameter.requires_grad
            continue
        moved = not torch.equal(parameter, before[name])
        assert parameter.requires_grad >= moved, f'{name} is frozen'
        trained |= {name} if parameter.requires_grad else set()
        changed |= {name} if moved else set()
    parts = {name.partition('.')[0] for name in trained}
    assert parts == {name.partition('.')[0] for name in changed}
