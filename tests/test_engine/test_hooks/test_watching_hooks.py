# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Hooks that watch a training: what they see, and that they change nothing."""

import re

import numpy as np
import pytest
import torch
from helpers.token_runs import assert_equal, config, train
from mmengine.hooks import Hook
from PIL import Image

from mmcae.config.check import ConfigError
from mmcae.engine.hooks.collapse_hook import find_signs, latents
from mmcae.engine.hooks.online_probe_hook import load_labeled
from mmcae.evaluation.rank import rank_me, spread
from mmcae.launch.runner import build_runner

SEED = dict(type='mmcae.IterationSeedHook')


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Twelve images of two classes: bright and dark."""
    folder = tmp_path_factory.mktemp('data') / 'photos'
    rng = np.random.default_rng(0)
    for name, base in (('bright', 170), ('dark', 20)):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(base, base + 60, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{i}.png')
    return folder


def log_of(work_dir) -> str:
    (file,) = work_dir.glob('*/*.log')
    return file.read_text()


def test_watching__changes_no_number(photos, tmp_path):
    plain = train(config(photos, tmp_path / 'plain'))
    hooks = [
        SEED,
        dict(type='mmcae.CollapseHook', interval=1),
        dict(type='mmcae.OnlineProbeHook', root=str(photos), interval=2, k=1),
        dict(type='mmcae.ReconstructionHook', interval=2, images=3),
    ]
    watched = train(config(photos, tmp_path / 'watched', custom_hooks=hooks))
    assert len(plain[0]) == 9
    assert_equal(plain, watched)
    log = log_of(tmp_path / 'watched')
    done = re.findall(r'Probe after (\d+) iterations', log)
    assert done == ['0', '2', '4', '6', '8', '9']
    picture = np.asarray(
        Image.open(tmp_path / 'watched' / 'reconstructions.png')
    )
    assert picture.std() > 20


class Collapse(Hook):
    """Breaks a model at an iteration.

    Args:
        at: The iteration.
        part: ``'encoder'``, ``'regressor'`` or ``'tokenizer'``.
    """

    def __init__(self, at: int, part: str) -> None:
        self.at, self.part = at, part

    @torch.no_grad()
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter < self.at:
            return
        model = runner.model
        if self.part == 'encoder':
            for parameter in model.backbone.parameters():
                parameter.zero_()
            model.backbone.ln1.bias.fill_(1.0)
        elif self.part == 'regressor':
            for parameter in model.neck.regressors.parameters():
                parameter.zero_()
        else:
            for parameter in model.target_generator.parameters():
                parameter.zero_()


@pytest.mark.parametrize(
    ('part', 'at', 'sign'),
    [
        ('encoder', 12, 'constant latents'),
        ('regressor', 12, 'constant predictions'),
        # The log counts the codes of all tokens so far.
        ('tokenizer', 0, 'one token'),
    ],
)
def test_collapse__is_named_soon(photos, tmp_path, part, at, sign):
    cfg = config(photos, tmp_path, epochs=8)
    cfg.custom_hooks = [SEED, dict(type='mmcae.CollapseHook', interval=10)]
    cfg.experiment_name = f'collapse_{part}'
    runner = build_runner(cfg)
    runner.register_hook(Collapse(at, part))
    runner.train()
    found = re.findall(
        r'Collapse, ([\w ]+) \(iteration (\d+)\)', log_of(tmp_path)
    )
    seen = {name: int(iteration) for name, iteration in reversed(found)}
    assert at < seen[sign] <= at + 12
    assert [name for name, _ in found].count(sign) == 1  # said once


HEALTHY = dict(
    rank_target=9.0,
    rank_pred=5.0,
    spread_target=0.8,
    spread_pred=0.3,
    codes=40.0,
)


@pytest.mark.parametrize(
    ('change', 'sign'),
    [
        ({}, None),
        (dict(codes=None), None),
        (dict(spread_target=0.01), 'constant latents'),
        (dict(rank_target=1.2), 'one direction'),
        (dict(spread_pred=0.01), 'constant predictions'),
        (dict(codes=1.1), 'one token'),
    ],
)
def test_find_signs__by_name(change, sign):
    assert list(find_signs(**HEALTHY | change)) == ([sign] if sign else [])


def test_latents__are_those_of_the_loss(photos, tmp_path):
    cfg = config(photos, tmp_path)
    runner = build_runner(cfg)
    model = runner.model.eval()
    batch = next(iter(runner.build_dataloader(cfg.train_dataloader)))
    found = []
    loss = model.head.loss

    def spy(logits, tokens, latent_pred, latent_target):
        found.append((latent_target, latent_pred))
        return loss(logits, tokens, latent_pred, latent_target)

    model.head.loss = spy
    with torch.no_grad():
        model.loss(**model.data_preprocessor(batch))
    ((target, predicted),) = found
    own_target, own_predicted = latents(model, batch)
    torch.testing.assert_close(own_target, target.flatten(0, 1))
    torch.testing.assert_close(own_predicted, predicted.flatten(0, 1))
    assert rank_me(own_target) > 1.5
    assert spread(own_target) > 0.05
    first, _ = latents(model, batch, images=2)
    torch.testing.assert_close(first, own_target[: len(first)])
    assert model.training is False


def test_probe__separates_bright_and_dark(photos, tmp_path):
    hook = dict(type='mmcae.OnlineProbeHook', root=str(photos), k=1)
    train(config(photos, tmp_path, epochs=1, custom_hooks=[SEED, hook]))
    log = log_of(tmp_path)
    assert 'after 3 iterations: 100.0 % 1 nearest' in log


def test_load_labeled__refuses(photos, tmp_path):
    with pytest.raises(ConfigError, match='not a folder'):
        load_labeled(str(photos / 'none'), 32, 100, 1)
    with pytest.raises(ConfigError, match='one folder of images for each'):
        load_labeled(str(photos / 'dark'), 32, 100, 1)
    with pytest.raises(ConfigError, match='too few for 7 neighbors'):
        load_labeled(str(photos), 32, 100, 7)
    images, labels = load_labeled(str(photos), 32, 6, 1)
    assert images.shape == (6, 3, 32, 32)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ('kind', 'options', 'error'),
    [
        ('CollapseHook', {}, TypeError),
        ('ReconstructionHook', {}, ConfigError),
    ],
)
def test_hooks__refuse_other_models(kind, options, error):
    from types import SimpleNamespace

    from mmcae.registry import HOOKS

    hook = HOOKS.build(dict(type=kind, **options))
    runner = SimpleNamespace(model=torch.nn.Linear(2, 2))
    with pytest.raises(error, match=r'mmcae\.CAE'):
        hook.before_train(runner)


def test_reconstruction__keeps_at_most_twelve_rows(photos, tmp_path):
    hook = dict(type='mmcae.ReconstructionHook', interval=1, images=2)
    cfg = config(photos, tmp_path, epochs=5, custom_hooks=[SEED, hook])
    cfg.experiment_name = 'rows'
    runner = build_runner(cfg)
    runner.train()
    (own,) = [
        h for h in runner.hooks if type(h).__name__ == 'ReconstructionHook'
    ]
    steps = [at for at, _ in own._rows]
    assert len(steps) <= 12
    assert steps[0] == 0
    assert steps[-1] == 15
