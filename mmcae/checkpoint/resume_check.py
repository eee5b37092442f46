# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Resume: check that a run can continue from a checkpoint.

The checks come before anything of the run is changed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from mmcae.checkpoint.optimizer_check import check_optimizer
from mmcae.checkpoint.own_files import keep_own_files
from mmcae.checkpoint.plain_values import (
    ResumeError,
    require_count,
    require_dict,
    same_kind,
)
from mmcae.checkpoint.printable import printable, printable_names
from mmcae.checkpoint.resume_changes import check_changes
from mmcae.checkpoint.unwrap import unwrap
from mmcae.checkpoint.weights import (
    check_layout,
    check_tensors,
    compare_state_dicts,
)

# Seeds of NumPy's generators must be smaller.
_SEED_LIMIT = 2**32
_HUB_ENTRIES = ('log_scalars', 'runtime_info')
_SCHEDULER_COUNTERS = ('_global_step', 'last_step')


def check_resume(
    runner: Any,
    checkpoint: dict[str, Any],
    source: str,
    optimizer: bool = True,
    schedulers: bool = True,
) -> None:
    """Check everything that a run would take over from a checkpoint.

    A wrong entry that the run does not need is left out, with a log entry.
    Everything else that does not belong to this run is an error.

    Args:
        runner: The run. Its optimizer and its schedulers are built if they
            are not built yet; nothing else is changed.
        checkpoint: The content of the file; changed in place.
        source: The name of the file.
        optimizer: Whether the optimizer will be resumed.
        schedulers: Whether the schedulers will be resumed.

    Raises:
        ResumeError: If the run cannot continue from the checkpoint.
    """
    step = _check_meta(checkpoint)
    _check_message_hub(checkpoint)
    _check_weights(runner.model, checkpoint, source)
    check_changes(runner, checkpoint, optimizer)
    if optimizer:
        if 'optimizer' not in checkpoint:
            raise ResumeError(
                'it has no optimizer (a best checkpoint, or one of a '
                'CheckpointHook with save_optimizer=False?)'
            )
        _build(runner, 'optim_wrapper')
        check_optimizer(runner.optim_wrapper, checkpoint['optimizer'])
    if schedulers and runner.param_schedulers:
        _build(runner, 'optim_wrapper')
        _build(runner, 'param_schedulers')
        _check_schedulers(
            runner.param_schedulers, checkpoint.get('param_schedulers')
        )
    info = checkpoint['message_hub']['runtime_info']
    keep_own_files(info, runner, source, step)
    _warn_if_done(runner, checkpoint['meta'])


def _build(runner: Any, name: str) -> None:
    """Build a part of the run as ``resume`` does, unless it is built."""
    build = getattr(runner, f'build_{name.removesuffix("s")}', None)
    if build is not None:  # FlexibleRunner builds before it resumes
        setattr(runner, name, build(getattr(runner, name)))


def _check_meta(checkpoint: dict[str, Any]) -> int:
    if 'meta' not in checkpoint:
        raise ResumeError('it has no meta with the number of epochs')
    meta = require_dict(checkpoint['meta'], 'meta')
    for key in ('epoch', 'iter'):
        if key not in meta:
            raise ResumeError(f'its meta has no {key}')
        require_count(meta[key], f'meta.{key}')
    if meta.get('seed') is not None:
        require_count(meta['seed'], 'meta.seed', _SEED_LIMIT)
    # mmengine executes this entry as Python code, to compare a key of mmcv's
    # first releases. Checkpoints of mmengine do not have it.
    if meta.pop('config', None) is not None:
        print_log(
            'meta.config of the resumed checkpoint is left out: mmengine '
            'would run it as Python code.',
            logger='current',
            level=30,
        )
    return max(meta['epoch'], meta['iter'])


def _check_message_hub(checkpoint: dict[str, Any]) -> None:
    if 'message_hub' not in checkpoint:
        raise ResumeError('it has no message_hub')
    hub = require_dict(checkpoint['message_hub'], 'message_hub')
    for key in (*_HUB_ENTRIES, 'resumed_keys'):
        if key not in hub:
            raise ResumeError(f'its message_hub has no {key}')
        require_dict(hub[key], f'message_hub.{key}')
    dropped = []
    for part in _HUB_ENTRIES:
        for key, value in list(hub[part].items()):
            # The names of scalars appear in every line of the log.
            wrong = not key.isprintable() or len(key) > 200
            # mmengine would later refuse to update such an entry.
            wrong |= hub['resumed_keys'].get(key) is not True
            wrong |= part == 'log_scalars' and not _is_history(value)
            if wrong:
                dropped.append(f'{part}.{key}')
                del hub[part][key]
    known = {**hub['log_scalars'], **hub['runtime_info']}
    for key in set(hub['resumed_keys']) - set(known):
        del hub['resumed_keys'][key]
    if dropped:
        print_log(
            f'{len(dropped)} malformed entries of the resumed message_hub '
            f'are left out: {", ".join(map(printable, dropped[:5]))}',
            logger='current',
            level=30,
        )


def _is_history(value: Any) -> bool:
    if not isinstance(value, HistoryBuffer):
        return False
    values, counts = value.data
    return (
        isinstance(values, np.ndarray)
        and isinstance(counts, np.ndarray)
        and values.ndim == 1
        and values.shape == counts.shape
        and values.dtype.kind in 'iuf'
        and counts.dtype.kind in 'iuf'
    )


def _check_weights(
    model: nn.Module, checkpoint: dict[str, Any], source: str
) -> None:
    """Require every weight of the model, with its shape."""
    if 'state_dict' not in checkpoint:
        raise ResumeError('it has no state_dict')
    check_layout(checkpoint, source)
    if 'ema_state_dict' in checkpoint:
        averaged = require_dict(checkpoint['ema_state_dict'], 'ema_state_dict')
        check_tensors(averaged, source)
    given = {
        name.removeprefix('module.'): value
        for name, value in checkpoint['state_dict'].items()
    }
    own = unwrap(model).state_dict()
    # Which keys are unexpected is only known after the model's own hooks ran.
    expected = {name: value for name, value in given.items() if name in own}
    problems = compare_state_dicts(own, expected)
    if problems:
        raise ResumeError(
            f'it does not hold the weights of this model: '
            f'{"; ".join(problems)}'
        )


def check_unexpected(names: list[str]) -> None:
    """Refuse tensors that the model does not have.

    Args:
        names: The unexpected keys of the load.

    Raises:
        ResumeError: If there are any.
    """
    if names:
        raise ResumeError(
            f'it holds {len(names)} tensors that this model does not have '
            f'({printable_names(names)})'
        )


def _check_schedulers(own: Any, given: Any) -> None:
    if isinstance(own, Mapping):
        given = require_dict(given, 'param_schedulers')
        if given.keys() != own.keys():
            raise ResumeError(
                f'its param_schedulers are of {printable_names(given)}, and '
                f'those of this config of {printable_names(own)}'
            )
        for name in own:
            _check_schedulers(own[name], given[name])
        return
    if not isinstance(given, list) or len(given) != len(own):
        found = len(given) if isinstance(given, list) else 'no list'
        raise ResumeError(
            f'its param_schedulers are {found}, and those of this config '
            f'{len(own)}'
        )
    for number, (scheduler, state) in enumerate(zip(own, given, strict=True)):
        _check_scheduler(scheduler, state, f'param_schedulers[{number}]')


def _check_scheduler(scheduler: Any, state: Any, where: str) -> None:
    state = require_dict(state, where)
    own = scheduler.state_dict()
    unknown = [key for key in state if key not in own]
    if unknown:
        raise ResumeError(
            f'its {where} has {printable_names(unknown)}, which '
            f'{type(scheduler).__name__} of this config does not have'
        )
    for key in _SCHEDULER_COUNTERS:
        if key in own:
            # -1 if the scheduler has not begun.
            require_count(state.get(key), f'{where}.{key}', least=-1)
    for key, value in state.items():
        if not same_kind(value, own[key]):
            raise ResumeError(
                f'its {where}.{key} is {printable(value)}, where '
                f'{type(scheduler).__name__} of this config has '
                f'{printable(own[key])}'
            )


def _warn_if_done(runner: Any, meta: dict[str, Any]) -> None:
    loop = runner.train_loop
    if isinstance(loop, IterBasedTrainLoop):
        unit, done, planned = 'iterations', meta['iter'], loop.max_iters
    else:
        unit, done, planned = 'epochs', meta['epoch'], loop.max_epochs
    if done >= planned:
        print_log(
            f'Nothing is left to train: the checkpoint has {done} finished '
            f'{unit}, and this run plans {planned}.',
            logger='current',
            level=30,
        )
