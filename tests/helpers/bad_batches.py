# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Batches with a loss or a gradient that is not finite, and runs with them."""

import copy
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmcae.checkpoint.unwrap import unwrap
from mmcae.config.search_path import resource_root


class Poison(Hook):
    """Replaces the images of some batches by NaN.

    Args:
        at: Indices of iterations, from 0.
    """

    def __init__(self, at: Iterable[int]) -> None:
        self.at = set(at)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        if runner.iter in self.at:
            inputs = data_batch['inputs']
            if isinstance(inputs, list | tuple):
                nan = [
                    torch.full(x.shape, torch.nan)
                    if i == 0 or x.dim() == 3
                    else x
                    for i, x in enumerate(inputs)
                ]
                data_batch['inputs'] = type(inputs)(nan)
            else:
                data_batch['inputs'] = torch.full(inputs.shape, torch.nan)


class PoisonGradient(Hook):
    """Makes one gradient infinite; the loss stays finite.

    Args:
        at: Indices of iterations, from 0.
    """

    def __init__(self, at: Iterable[int]) -> None:
        self.at = set(at)

    def before_train(self, runner: Any) -> None:
        model = unwrap(runner.model)
        parameter = next(p for p in model.parameters() if p.requires_grad)
        parameter.register_hook(
            lambda grad: grad * torch.inf if runner.iter in self.at else grad
        )


class LeaveOut(Hook):
    """Takes no step on some batches and keeps nothing of their forward pass.

    This is what a run with bad batches is compared with.

    Args:
        at: Indices of iterations, from 0.
        steps: The iterations without a step, if they are others.
    """

    priority = 'LOWEST'

    def __init__(
        self, at: Iterable[int], steps: Iterable[int] | None = None
    ) -> None:
        self.at = set(at)
        self.steps = self.at if steps is None else set(steps)
        self._before: Any = None
        self._step: Any = None

    def before_train(self, runner: Any) -> None:
        wrapper = runner.optim_wrapper
        self._step = wrapper.optimizer.step

        def step(*args: Any, **kwargs: Any) -> None:
            if runner.iter not in self.steps:
                self._step(*args, **kwargs)

        wrapper.optimizer.step = step

    def before_train_iter(self, runner: Any, *args: Any, **kw: Any) -> None:
        if runner.iter in self.at:
            self._before = copy.deepcopy(forward_state(runner.model))

    def after_train_iter(self, runner: Any, *args: Any, **kw: Any) -> None:
        if runner.iter in self.at:
            for now, before in zip(
                forward_state(runner.model), self._before, strict=True
            ):
                now.copy_(before)


def forward_state(model: Any) -> list[torch.Tensor]:
    """Buffers, tensors that are attributes, and a teacher's parameters."""
    found = [*model.buffers()]
    for module in model.modules():
        found += [v for v in vars(module).values() if torch.is_tensor(v)]
    if hasattr(model, 'teacher'):
        found += [p.data for p in model.teacher.parameters()]
    return found


class Steps(Hook):
    """Records losses, files and learning rates."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.files: list[list[str]] = []

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        self.losses.append(float(outputs['loss'].detach()))
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        self.files.append([s.img_path for s in data_batch['data_samples']])


class Warnings(logging.Handler):
    """Keeps the warnings of mmengine's logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def train(runner: Any, *hooks: Hook) -> tuple[Steps, dict, list[str]]:
    """Train; return the record, all final tensors, and the warnings."""
    steps, warnings = Steps(), Warnings()
    for hook in (*hooks, steps):
        runner.register_hook(hook)
    runner.logger.addHandler(warnings)
    try:
        runner.train()
    finally:
        runner.logger.removeHandler(warnings)
    model = unwrap(runner.model)
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    for state in runner.optim_wrapper.optimizer.state.values():
        for key, value in state.items():
            name = f'optimizer {len(tensors)} {key}'
            tensors[name] = torch.as_tensor(value).clone()
    return steps, tensors, [w for w in warnings.lines if 'Iteration' in w]


def fresh() -> None:
    """Forget the runner before: a test has several."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()


SMALL = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)


def recipe(kind: str, photos: Path, work_dir: Path) -> Config:
    """Shrink a recipe of this package to two epochs of a few batches.

    Args:
        kind: ``'cae'``, ``'tokenizer'``, ``'finetune'``, ``'linear'`` or
            ``'sweep'``.
        photos: A folder with two folders of images, one for each class.
        work_dir: Where checkpoints go.
    """
    benchmarks = 'cae/benchmarks/'
    name = dict(
        cae='cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py',
        tokenizer='tokenizer/dvae_f8-k64_1xb32-13e_digits-32px.py',
        finetune=benchmarks + 'tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px.py',
        linear=benchmarks
        + 'tiny-p8_cae-pre_1xb64-linear-coslr-30e_digits-32px.py',
        sweep=benchmarks
        + 'beit-base-p16_cae-pre_8xb2048-linear-sweep-coslr-90e_in1k.py',
    )[kind]
    cfg = Config.fromfile(resource_root() / 'configs' / name)
    if kind == 'tokenizer':
        cfg.model.hidden_channels = (4, 4, 8)
    else:
        backbone = cfg.model.backbone
        backbone.update(arch=SMALL, img_size=32, patch_size=8)
        backbone.pop('init_cfg', None)
        if backbone.get('frozen_stages', -1) > 0:
            backbone.frozen_stages = 1
    if kind == 'cae':
        cfg.model.neck.update(embed_dims=16, num_heads=2)
        cfg.model.neck.update(regressor_depth=1, decoder_depth=1)
        cfg.model.target_generator.update(hidden_channels=(4, 4, 8))
        cfg.model.target_generator.pop('init_cfg')
    elif kind != 'tokenizer':
        cfg.model.head.update(in_channels=16, num_classes=2)
        if 'neck' in cfg.model:
            cfg.model.neck.input_features = 16
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.pin_memory = False
    dataset = loader.dataset
    dataset.update(data_root=str(photos), data_prefix='')
    if kind == 'sweep':
        dataset.type = 'mmpretrain.CustomDataset'
        dataset.pop('split')
        dataset.pipeline[1].size = 32
    cfg.train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=2)
    for phase in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{phase}_{part}', None)
    if kind == 'sweep':
        cfg.custom_hooks = [dict(type='SyncBuffersHook')]
    cfg.default_hooks.checkpoint = dict(
        type='mmcae.CheckpointHook', interval=1
    )
    cfg.default_hooks.logger.interval = 1
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.5, end=6, by_epoch=False)
    ]
    cfg.randomness = dict(seed=0)
    cfg.launcher = 'none'
    cfg.work_dir = str(work_dir)
    return cfg
