# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Say what is trained, how far it is, and what it made."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook, LoggerHook
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
)

from mmcae.apis.run_folder import newest_checkpoint
from mmcae.checkpoint.unwrap import unwrap
from mmcae.registry import HOOKS
from mmcae.utils.durations import duration_text
from mmcae.utils.old_names import old_names
from mmcae.version import __version__

from ..log_lines import FullLines
from ..log_lines import clock as clock

# The first steps are slow: memory is allocated, kernels are chosen.
_WARM_STEPS = 3


@HOOKS.register_module()
class ProgressHook(Hook):
    """Prints a header, the time left, and what was made.

    - Before training: the config, data, model, optimizer, schedule and device.
    - After the first step: that it is done. Soon after: the time left.
    - In each line of the logger: also iterations, images per second, the share
      of time in which data were awaited, memory, and when the end is.
    - Whenever the logger was silent for a while: a line of progress.
    - On a terminal: a bar in place of these lines.
    - After training: the newest checkpoint and the next command.

    `mmcae.launch` adds this hook to every training. It reads no value from
    the GPU.

    Args:
        seconds: A line of progress is printed when the logger was silent for
            so long.
        bar: Whether to draw a bar; ``None``: on a terminal.
    """

    priority = 'LOWEST'

    def __init__(self, seconds: float = 60.0, bar: bool | None = None) -> None:
        self.seconds = seconds
        self._bar_wanted = bar
        self._bar: Progress | None = None
        self._task: Any = None
        self._redirected: list[tuple[Any, Any]] = []
        self._images = 0

    def before_train(self, runner: Any) -> None:
        """Print the header; start the clock and the bar."""
        self._start = self._last_line = time.perf_counter()
        self._first = runner.iter
        self._warm: tuple[int, float] | None = None
        self._said_eta = False
        loggers = [h for h in runner.hooks if isinstance(h, LoggerHook)]
        self._interval = min((h.interval for h in loggers), default=0)
        runner.logger.info(header(runner))
        runner.log_processor = FullLines(
            runner.log_processor, lambda: self._images
        )
        if not is_main_process():
            return
        wanted = self._bar_wanted
        if wanted or (wanted is None and sys.stdout.isatty()):
            self._open_bar(runner)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Count the images of the batch, for the lines of the logger."""
        self._images = images_of(data_batch)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Print a line if it is time for one, or move the bar."""
        now = time.perf_counter()
        done = runner.iter + 1
        if self._interval and (batch_idx + 1) % self._interval == 0:
            self._last_line, self._said_eta = now, True
        if self._warm is None and done - self._first >= _WARM_STEPS:
            self._warm = done, now
        if self._bar is not None:
            text = self._progress(runner, done, now, data_batch)
            self._bar.update(
                self._task, completed=done, text=text.removeprefix(', ')
            )
            return
        if done == self._first + 1:
            self._last_line = now
            runner.logger.info(
                f'The first step is done after {now - self._start:.1f} s.'
            )
            return
        silent = now - self._last_line
        soon = not self._said_eta and silent > 5 and self._warm is not None
        if soon or silent >= self.seconds:
            self._said_eta, self._last_line = True, now
            text = self._progress(runner, done, now, data_batch)
            runner.logger.info(
                f'Iteration {done:,} of {runner.max_iters:,}{text}'
            )

    def after_train(self, runner: Any) -> None:
        """Say where the result is and which command may follow."""
        self.close()
        if isinstance(runner.log_processor, FullLines):
            runner.log_processor = runner.log_processor.processor
        took = duration_text(time.perf_counter() - self._start, exact=True)
        done = runner.iter - self._first
        checkpoint = newest_checkpoint(Path(runner.work_dir))
        lines = [f'Done: {done:,} iterations in {took}.']
        if checkpoint is not None:
            lines += [f'Checkpoint: {checkpoint}']
            lines += next_commands(unwrap(runner.model), checkpoint)
        runner.logger.info('\n    '.join(lines))

    def close(self) -> None:
        """Remove the bar, also after an error; the cursor comes back."""
        if self._bar is None:
            return
        self._bar.stop()
        self._bar = None
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected = []

    def _progress(
        self, runner: Any, done: int, now: float, data_batch: Any
    ) -> str:
        """Speed, waiting time and time left, as far as they are known."""
        if self._warm is None or done == self._warm[0]:
            return ''
        steps, seconds = done - self._warm[0], now - self._warm[1]
        parts = ['']
        images = images_of(data_batch) * get_world_size()
        if images:
            parts.append(f'{images * steps / seconds:,.0f} images/s')
        waiting = waiting_share(runner)
        if waiting is not None:
            parts.append(f'{waiting:.0%} waiting for data')
        left = (runner.max_iters - done) * seconds / steps
        parts.append(
            f'{duration_text(left, exact=True)} left (until {clock(left)})'
        )
        return ', '.join(parts)

    def _open_bar(self, runner: Any) -> None:
        self._bar = Progress(
            TextColumn('  '),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn('{task.fields[text]}'),
            console=Console(file=sys.stdout),
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(
            '', total=runner.max_iters, completed=runner.iter, text=''
        )
        self._bar.start()
        # Lines of the log now appear above the bar.
        for handler in runner.logger.handlers:
            if getattr(handler, 'stream', None) is sys.__stdout__:
                self._redirected.append((handler, handler.stream))
                handler.setStream(sys.stdout)


def header(runner: Any) -> str:
    """Describe a training in a few lines."""
    model = unwrap(runner.model)
    rows = {
        'config': Path(runner.cfg.filename or 'none').name,
        'data': _data(runner),
        'model': _model(model),
        'optimizer': _optimizer(runner.optim_wrapper),
        'schedule': _schedule(runner),
        'device': _device(model),
        'work dir': runner.work_dir,
        'log file': f'{Path(runner.log_dir).name}/{runner.timestamp}.log, '
        'also with environment, config and hooks',
    }
    title = f'mmcae {__version__}, training of {type(model).__name__}'
    return '\n    '.join(
        [title, *(f'{name:<10} {text}' for name, text in rows.items())]
    )


def _data(runner: Any) -> str:
    loader = runner.train_dataloader
    dataset = loader.dataset
    batch = getattr(loader.batch_sampler, 'batch_size', loader.batch_size)
    text = f'{len(dataset):,} images ({type(dataset).__name__})'
    root = getattr(dataset, 'data_root', None) or getattr(
        dataset, 'img_prefix', None
    )
    if isinstance(root, str) and root:
        text += f' of {root}'
    if batch:
        text += f', batch {batch}'
    if get_world_size() > 1:
        text += f' x {get_world_size()} processes'
    accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    if accumulated > 1:
        text += f' x {accumulated} accumulated'
    return text


def _model(model: Any) -> str:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = f'{count(trained)} trained parameters'
    tokenizer = getattr(model, 'target_generator', None)
    if tokenizer is not None:
        text += f', target {type(tokenizer).__name__}'
        codes = getattr(tokenizer, 'vocab_size', None)
        if isinstance(codes, int):
            text += f' ({codes:,} codes)'
    return text


def _optimizer(wrapper: Any) -> str:
    optimizer = getattr(wrapper, 'optimizer', None)
    if optimizer is None:  # several wrappers, as of a GAN
        return type(wrapper).__name__
    # Schedulers have set `lr` to the start of a warm-up already.
    rates = [g.get('initial_lr', g['lr']) for g in optimizer.param_groups]
    text = f'{type(optimizer).__name__}, learning rate {max(rates):.3g}'
    dtype = getattr(wrapper, 'cast_dtype', None)
    if hasattr(wrapper, 'loss_scaler') or dtype is not None:
        text += f', {str(dtype or "half").removeprefix("torch.")} autocast'
    return text


def _schedule(runner: Any) -> str:
    text = f'{runner.max_iters:,} iterations'
    if runner.max_epochs > 1:
        text = f'{runner.max_epochs:,} epochs, {text}'
    if runner.iter:
        text += f', continued after {runner.iter:,}'
    return text


def _device(model: Any) -> str:
    device = next(model.parameters()).device
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        name = f'{device.type}, {threads} thread{"s" * (threads > 1)}'
    return name


def images_of(data_batch: Any) -> int:
    """The number of images of a batch, 0 if it is not known."""
    samples = None
    if isinstance(data_batch, dict):
        samples = data_batch.get('data_samples', data_batch.get('inputs'))
    return len(samples) if isinstance(samples, Sequence) else 0


def waiting_share(runner: Any) -> float | None:
    """The share of the last iterations' time in which data were awaited."""
    scalars = runner.message_hub.log_scalars
    if 'train/time' not in scalars or 'train/data_time' not in scalars:
        return None
    total = scalars['train/time'].mean(50)
    return scalars['train/data_time'].mean(50) / total if total else None


def next_commands(model: Any, checkpoint: Path) -> list[str]:
    """What can be done with a checkpoint of a model."""
    if hasattr(model, 'target_generator') and hasattr(model, 'neck'):
        return [
            f'See what it predicts: mmcae reconstruct {checkpoint} IMAGE',
            f'Use the encoder: mmcae export {checkpoint} --to timm --out DIR',
        ]
    if hasattr(model, 'tokenize'):
        return [f'Pretrain with it: --cfg-options tokenizer={checkpoint}']
    return [f'Evaluate it: mmcae test CONFIG {checkpoint}']


def count(number: int) -> str:
    """A number of parameters, such as ``85.8 M``."""
    for factor, unit in ((1e9, ' G'), (1e6, ' M'), (1e3, ' k')):
        if number >= factor:
            return f'{number / factor:.1f}{unit}'
    return str(number)


__getattr__ = old_names(__name__, {'duration': 'duration_text'})
