# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Saves checkpoints so that no run is lost, and finds the one to resume."""

import copy
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.logging import HistoryBuffer

from mmcae.checkpoint.durable import BACKEND, DISK_ERRORS, write_durably
from mmcae.checkpoint.errors import CheckpointError
from mmcae.checkpoint.unwrap import unwrap
from mmcae.checkpoint.work_dir import (
    POINTER,
    choose_checkpoint,
    interim_checkpoints_in,
)
from mmcae.engine.position import EXACT, position_of, restore_position
from mmcae.registry import HOOKS


class _RemoveLater:
    """A storage backend that removes something only when it is told to.

    mmengine removes the former best checkpoint before it saves the new one.

    Args:
        backend: The backend that does everything else.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file."""
        self._paths.append(path)

    def rmtree(self, path: str) -> None:
        """Note a folder."""
        self._paths.append(path)

    def remove_noted(self, saved: set[str]) -> None:
        """Remove what was noted, except what was saved since."""
        for path in self._paths:
            if path not in saved:
                _remove_path(self._backend, path)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's ``CheckpointHook``, made safe.

    - A checkpoint gets its name when it is complete and on disk, and its
      SHA-256 is recorded beside it. Then the pointer ``last_checkpoint``
      follows, and only then older checkpoints are removed. So a killed run
      always leaves a checkpoint.
    - A save that the disk refuses is a warning. The run goes on, and ends
      with an error after ``max_failures`` failed saves in a row.
    - A model that holds a number that is not finite is never saved.
    - The history of the log stays out, except for what the next line of the
      log averages over. So the size of a checkpoint does not grow.
    - ``Runner(resume=True)`` without a file takes the newest checkpoint that
      is not damaged, and says which ones it passed over.

    Args:
        max_failures: How many failed saves in a row end the run.
        **kwargs: See mmengine's ``CheckpointHook``. ``backend_args`` and
            other storage than a local disk work as there.

    Raises:
        CheckpointError: After too many failed saves, before a save of
            numbers that are not finite, and if all checkpoints are damaged.
    """

    backend_args: dict | None
    file_backend: Any
    out_dir: Any

    def __init__(self, max_failures: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_failures = max_failures
        self._failures = 0
        self._position: dict = {}
        self._given_out_dir = self.out_dir

    def before_run(self, runner: Any) -> None:
        """Choose the checkpoint of an automatic resume."""
        if runner._resume and runner._load_from is None:
            path = choose_checkpoint(runner.work_dir, runner.logger.warning)
            runner._load_from = None if path is None else str(path)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Give a resumed run its position, random state and gradients."""
        if runner._resume:
            restore_position(runner, checkpoint)

    def before_train(self, runner: Any) -> None:
        """Choose the storage: local files are written durably."""
        # mmengine appends the name of the work dir at each training.
        self.out_dir = self._given_out_dir
        folder = str(self.out_dir or runner.work_dir)
        if (
            self.backend_args is None
            and self.file_client_args is None
            and '://' not in folder
        ):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Refuse numbers that are not finite; shorten the log's history."""
        name = _first_not_finite(runner, checkpoint)
        if name is not None:
            raise CheckpointError(
                f'{name} holds a number that is not finite after iteration '
                f'{runner.iter}, so this checkpoint is not saved; resume '
                'from the last one with a lower learning rate'
            )
        checkpoint[EXACT] = self._position
        scalars = checkpoint['message_hub']['log_scalars']
        for key, history in scalars.items():
            scalars[key] = _last_values(history, _window(runner))

    def save_now(self, runner: Any) -> str | None:
        """Save after an iteration, whatever the interval.

        In an epoch loop the file is called ``epoch_E_iter_I.pth``: E finished
        epochs and I iterations after them. The next regular checkpoint
        removes it.

        Args:
            runner: The run, in ``after_train_iter``.

        Returns:
            The path, or None if the disk refused it.
        """
        finished = runner.iter + 1
        meta = dict(epoch=runner.epoch, iter=finished)
        batch = getattr(runner.train_loop, 'batch', 0)
        if batch:
            name = f'epoch_{runner.epoch}_iter_{batch}.pth'
            saved = self._save(runner, name, meta)
        else:
            saved = self._save_checkpoint_with_step(runner, finished, meta)
        return self.last_ckpt if saved else None

    def _save_checkpoint_with_step(
        self, runner: Any, step: int, meta: dict
    ) -> bool:
        """Save a regular checkpoint, then remove the surplus ones."""
        former = [*getattr(self, 'keep_ckpt_ids', ())]
        steps = [*(one for one in former if one != step), step]
        surplus: list[int] = []
        if self.max_keep_ckpts > 0:
            surplus = steps[: -self.max_keep_ckpts]
            steps = steps[-self.max_keep_ckpts :]
            runner.message_hub.update_info('keep_ckpt_ids', steps)
        name = self.filename_tmpl.format(step)
        if not self._save(runner, name, meta):
            if self.max_keep_ckpts > 0:
                runner.message_hub.update_info('keep_ckpt_ids', former)
            return False
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(steps, self.max_keep_ckpts)
        if is_main_process():
            old = [self.filename_tmpl.format(one) for one in surplus]
            for path in (*old, *self._interim_names()):
                self._remove(path)
        return True

    def _save(self, runner: Any, name: str, meta: dict) -> bool:
        """Write a checkpoint, then point to it.

        Returns:
            Whether it was saved. If not, the run still knows the former one.
        """
        former = self.last_ckpt
        self._position = position_of(runner)
        self._know_last(
            runner, self.file_backend.join_path(self.out_dir, name)
        )
        saved = self._guarded(
            runner,
            name,
            lambda: runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            ),
        )
        if not saved:
            self._know_last(runner, former)
        elif is_main_process():
            self._guarded(runner, POINTER, lambda: self._point_to(runner))
        return saved

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        """Save the best checkpoint before the former one is removed."""
        if not self.save_best:
            return
        info = runner.message_hub.runtime_info
        known = {k: v for k, v in info.items() if k.startswith('best_')}
        attributes = {
            name: getattr(self, name)
            for name in ('best_ckpt_path', 'best_ckpt_path_dict')
            if hasattr(self, name)
        }
        attributes = copy.deepcopy(attributes)
        backend = self.file_backend
        later = _RemoveLater(backend)
        self.file_backend = later
        try:
            saved = self._guarded(
                runner,
                'the best checkpoint',
                lambda: super(CheckpointHook, self)._save_best_checkpoint(
                    runner, metrics
                ),
            )
        finally:
            self.file_backend = backend
        if saved:
            later.remove_noted(self._best_paths())
            return
        for key in [k for k in info if k.startswith('best_')]:
            if key in known:
                runner.message_hub.update_info(key, known[key])
            else:
                info.pop(key)
        for name, value in attributes.items():
            setattr(self, name, value)

    def _guarded(
        self, runner: Any, what: str, save: Callable[[], Any]
    ) -> bool:
        """Save something; a disk that refuses costs a warning.

        Returns:
            Whether it was saved.
        """
        try:
            save()
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            self._failures += 1
            text = f'Could not save {what}: {error.strerror}.'
            if self._failures >= self.max_failures:
                raise CheckpointError(
                    f'{text} That was failure {self._failures} in a row, so '
                    'the run ends; make room and continue with --resume'
                ) from error
            runner.logger.warning(
                f'{text} The run goes on and tries again at the next '
                f'checkpoint (failure {self._failures} of '
                f'{self.max_failures}).'
            )
            return False
        self._failures = 0
        return True

    def _know_last(self, runner: Any, path: str | None) -> None:
        self.last_ckpt = path
        runner.message_hub.update_info('last_ckpt', path)

    def _point_to(self, runner: Any) -> None:
        """Write the name of the last checkpoint, relative to the work dir."""
        path = str(self.last_ckpt)
        if '://' not in path:
            path = os.path.relpath(path, runner.work_dir)
        write_durably(path.encode(), os.path.join(runner.work_dir, POINTER))

    def _remove(self, name: str) -> None:
        path = self.file_backend.join_path(self.out_dir, name)
        _remove_path(self.file_backend, path)

    def _interim_names(self) -> list[str]:
        if '://' in str(self.out_dir):
            return []
        return [path.name for path in interim_checkpoints_in(self.out_dir)]

    def _best_paths(self) -> set[str]:
        one = getattr(self, 'best_ckpt_path', None)
        several = getattr(self, 'best_ckpt_path_dict', {})
        return {str(path) for path in (one, *several.values()) if path}


def _remove_path(backend: Any, path: str) -> None:
    """Remove a checkpoint, which is a folder if DeepSpeed saved it."""
    if backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):
        backend.rmtree(path)


def _first_not_finite(runner: Any, checkpoint: dict) -> str | None:
    """Name a weight, moving average or moment that is not finite."""
    constant = _constant_buffers(unwrap(runner.model))
    for name, value in checkpoint.get('state_dict', {}).items():
        if name not in constant and not _is_finite(value):
            return name
    states = checkpoint.get('optimizer', {}).get('state', {})
    for number, state in states.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and not _is_finite(value):
                return f'{key} of parameter {number} in the optimizer'
    return None


def _constant_buffers(model: torch.nn.Module) -> set[str]:
    """Names of buffers that may hold infinity, such as masks of attention.

    Only those of modules with moving averages are surely numbers.
    """
    return {
        f'{prefix}.{key}' if prefix else key
        for prefix, module in model.named_modules()
        for key in module._buffers
        if not hasattr(module, 'running_mean')
    }


def _is_finite(value: torch.Tensor) -> bool:
    if not value.numel() or not value.is_floating_point():
        return True
    # NaN travels through both; nothing of the tensor's size is allocated.
    return bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())


def _window(runner: Any) -> int | None:
    """How many values of a scalar the next line of the log averages over.

    Returns:
        A number, or None for all.
    """
    processor = runner.log_processor
    settings = [one.get('window_size') for one in processor.custom_cfg]
    windows = {processor.window_size, *settings} - {None}
    if 'global' in windows:
        return None
    if 'epoch' in windows:
        windows = windows - {'epoch'} | {len(runner.train_dataloader)}
    return max(windows)


def _last_values(history: HistoryBuffer, count: int | None) -> HistoryBuffer:
    if count is None or len(history.data[0]) <= count:
        return history
    values, counts = history.data
    # a copy, which does not keep the memory of the whole
    return HistoryBuffer(
        values[-count:].copy(), counts[-count:].copy(), history.max_length
    )
