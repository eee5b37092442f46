# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make losses and gradients that are not finite, and time the watching."""

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from helpers.bad_batches import (
    LeaveOut,
    Poison,
    PoisonGradient,
    fresh,
    recipe,
    train,
)
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper

from mmcae.checkpoint.errors import CheckpointError
from mmcae.checkpoint.work_dir import checkpoints_in, choose_checkpoint
from mmcae.config.search_path import resource_root
from mmcae.engine import NonFiniteHook, OptimWrapper
from mmcae.engine.hooks.non_finite_hook import NonFiniteError
from mmcae.engine.optimizers.clip import unclip
from mmcae.engine.replay import replay
from mmcae.launch.runner import build_runner

from .runs import Row, Settings, make_images

KINDS = ('cae', 'tokenizer', 'finetune', 'linear', 'sweep')
#: Index of the bad iteration, in the middle of an epoch of four.
BAD = 2
#: Timed pairs of iterations.
PAIRS = 300


def number_rows(settings: Settings) -> Iterator[Row]:
    """Bad batches in every training; three in a row; replays; the cost."""
    folder = settings.folder / 'numbers'
    photos = _classes(folder)
    injected = survived = replayed = 0
    for kind in KINDS:
        for poison in (Poison, PoisonGradient):
            for groups in (1, 2):
                injected += 1
                name = f'{kind}_{poison.__name__}_{groups}'
                is_same, is_equal = _skips(
                    kind, poison, groups, photos, folder / name
                )
                survived += is_same
                replayed += is_equal
    yield Row(
        'a batch whose loss or gradient is not finite is skipped and its '
        'files are named; nothing else changes',
        injected,
        survived,
        f'{", ".join(KINDS)}; loss or gradient; accumulation over 1 and 2; '
        'weights and optimizer compared bit by bit',
    )
    yield Row(
        'such a batch can be repeated bit by bit',
        injected,
        replayed,
        'all losses and metrics compared',
    )
    ended = sum(
        _ends(kind, photos, folder / f'{kind}_three') for kind in KINDS
    )
    yield Row(
        'three in a row end the run; the last checkpoint is good',
        len(KINDS),
        ended,
        'exit status 1, one line',
    )
    ratio = watching_ratio(photos, folder / 'cost')
    yield Row(
        'watching every loss and gradient costs less than 1 % of a step',
        1,
        int(ratio < 1.01),
        f'digits recipe, batch 32: {ratio:.4f} times as long, median of '
        f'{PAIRS} pairs of steps',
    )


def _classes(folder: Path) -> Path:
    """Write images of two classes, four of each."""
    photos = make_images(folder)
    for number, path in enumerate(sorted(photos.glob('*.jpg'))):
        if number >= 8:
            path.unlink()
            continue
        target = photos / 'ab'[number % 2]
        target.mkdir(exist_ok=True)
        path.rename(target / path.name)
    return photos


def _run(cfg: Config, *hooks: Any) -> tuple[Any, dict, list[str]]:
    fresh()
    cfg.log_level = 'WARNING'
    runner = build_runner(cfg)
    for handler in runner.logger.handlers:
        handler.setLevel(logging.ERROR)  # the console
    return train(runner, *hooks)


def _skips(
    kind: str,
    poison: Callable,
    groups: int,
    photos: Path,
    folder: Path,
) -> tuple[bool, bool]:
    """Compare a run with a bad batch with one that leaves it out.

    Returns:
        Whether the rest of the run is the same, and whether the batch is
        repeated exactly.
    """
    last = BAD if groups == 1 else BAD + 1  # of the accumulated batches
    results = []
    for name, hook in (
        ('bad', poison([BAD])),
        ('left_out', LeaveOut([BAD], [last])),
    ):
        cfg = recipe(kind, photos, folder / name)
        cfg.optim_wrapper.accumulative_counts = groups
        results.append(_run(cfg, hook))
    (steps, tensors, lines), (others, expected, _) = results
    is_same = (
        all(torch.equal(value, expected[k]) for k, value in tensors.items())
        and steps.losses[:BAD] == others.losses[:BAD]
        and steps.losses[BAD + 1 :] == others.losses[BAD + 1 :]
        and len(lines) == 1
        and all(file in lines[0] for file in steps.files[BAD])
    )
    fresh()
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    kept = folder / f'bad/non_finite/iter_{last + 1}'
    return is_same, replay(kept).is_equal


def _ends(kind: str, photos: Path, folder: Path) -> bool:
    """Whether three bad batches in a row end a run."""
    try:
        _run(recipe(kind, photos, folder), Poison([5, 6, 7]))
    except NonFiniteError as error:
        text = str(error)
    else:
        return False
    try:
        good = choose_checkpoint(folder, print)
    except CheckpointError:
        return False
    return '(iterations 6, 7, 8)' in text and checkpoints_in(folder) == [good]


class _Unwatched(OptimWrapper):
    """The wrapper as it is without the check of loss and gradient."""

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        MMEngineOptimWrapper.backward(self, loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        try:
            MMEngineOptimWrapper.step(self, **kwargs)
        finally:
            unclip(self.optimizer)


def watching_ratio(photos: Path, folder: Path, pairs: int = PAIRS) -> float:
    """Time steps of the digits recipe with and without the watching.

    Returns:
        The median of the ratios of neighboring steps.
    """
    small = recipe('cae', photos, folder)
    name = 'cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'
    cfg = Config.fromfile(resource_root() / 'configs' / name)
    small.model = cfg.model
    small.model.target_generator.pop('init_cfg')
    small.train_dataloader.batch_size = 8
    small.log_level = 'WARNING'
    fresh()
    runner = build_runner(small)
    hook = NonFiniteHook()
    times: tuple[list[float], list[float]] = ([], [])

    class Pairs(Poison):
        """Trains on one batch, in turn with and without the watching."""

        def before_train_iter(
            self, runner: Any, batch_idx: int, data_batch: Any = None
        ) -> None:
            if not times[0]:
                _time_pairs(runner, hook, _tiled(data_batch), pairs, times)

    runner.register_hook(Pairs([]))
    runner.train()
    return statistics.median(
        one / two for one, two in zip(*times, strict=True)
    )


def _tiled(batch: dict) -> dict:
    """Four times the samples: a batch of 32."""
    return dict(
        inputs=[torch.cat([x] * 4) for x in batch['inputs']],
        data_samples=batch['data_samples'] * 4,
    )


def _time_pairs(
    runner: Any,
    hook: NonFiniteHook,
    batch: dict,
    pairs: int,
    times: tuple[list[float], list[float]],
) -> None:
    watched = runner.optim_wrapper
    unwatched = _Unwatched(watched.optimizer, clip_grad=dict(max_norm=3.0))
    unwatched.deferred_scalars = watched.deferred_scalars
    hook.before_train(runner)

    def with_hook() -> None:
        hook.take()
        log = runner.model.train_step(batch, watched)
        hook.after_train_iter(runner, 0, batch, log)

    def without() -> None:
        runner.model.train_step(batch, unwatched)

    for pair in range(pairs + 5):
        order = (with_hook, without) if pair % 2 else (without, with_hook)
        for step in order:
            began = time.perf_counter()
            step()
            if pair >= 5:  # the first ones warm up
                seconds = time.perf_counter() - began
                times[step is without].append(seconds)
