# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a run needs, beside weights and optimizer, to continue exactly."""

import math
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size

from mmcae.checkpoint.plain_values import (
    ResumeError,
    require_count,
    require_dict,
)
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.unwrap import unwrap
from mmcae.engine.random_state import check_random_state, get_random_state

#: The key in a checkpoint.
EXACT = 'exact_resume'


def position_of(runner: Any) -> dict[str, Any]:
    """Describe where a run is, between two iterations.

    Call it on all processes: each one has its own random state.

    Args:
        runner: The run.

    Returns:
        ``batch``: finished batches of the epoch; ``batches``: those of a
        whole epoch; ``images``: those of the training data;
        ``random_states``: one of each process; ``gradients``:
        by parameter name, those that wait for the optimizer's next step;
        ``gradients_broken``: whether one of them is not finite. Then that
        step will be skipped, so none is saved.
    """
    batches = len(runner.train_dataloader)
    gradients = {
        name: parameter.grad.detach().cpu()
        for name, parameter in unwrap(runner.model).named_parameters()
        if parameter.grad is not None
    }
    broken = not all(bool(g.isfinite().all()) for g in gradients.values())
    if broken or get_world_size() > 1:
        # Each process has accumulated its own: those of one would be wrong.
        gradients = {}
    return {
        'batch': getattr(runner.train_loop, 'batch', 0),
        'batches': batches,
        'images': len(runner.train_dataloader.dataset),
        'random_states': all_gather_object(get_random_state()),
        'gradients': gradients,
        'gradients_broken': broken and get_world_size() == 1,
    }


def restore_position(runner: Any, checkpoint: dict) -> None:
    """Continue from a position, as far as the checkpoint has it.

    Args:
        runner: The resumed run.
        checkpoint: What the file holds.

    Raises:
        ResumeError: If the file was saved inside of an epoch and the epochs
            of this run have another number of batches, or if it does not
            hold what `position_of` returns.
    """
    position = checkpoint.get(EXACT)
    if not isinstance(position, dict):
        return  # mmengine's own CheckpointHook wrote it
    loop = runner.train_loop
    batches = require_count(position.get('batches'), f'{EXACT}.batches')
    batch = require_count(
        position.get('batch'), f'{EXACT}.batch', below=batches + 1
    )
    if batch:
        if not hasattr(loop, 'start_batch'):  # mmengine's own loop
            raise ResumeError(
                f'it was saved after batch {batch} of an epoch; resume with '
                "train_cfg.type='mmcae.EpochBasedTrainLoop'"
            )
        if batches != len(loop.dataloader):
            raise ResumeError(
                f'it was saved after batch {batch} of {batches} of an epoch, '
                f'and the epochs of this run have {len(loop.dataloader)} '
                'batches: resume with the same batch size, data and number '
                'of processes, or from a checkpoint of a whole epoch'
            )
        loop.start_batch = batch
    states: Any = position.get('random_states')
    known = isinstance(states, list) and len(states) == get_world_size()
    if known and hasattr(loop, 'random_state'):
        loop.random_state = check_random_state(states[get_rank()])
    gradients = require_dict(position.get('gradients'), f'{EXACT}.gradients')
    _restore_gradients(unwrap(runner.model), gradients)
    if position.get('gradients_broken') is True:
        _break_gradients(unwrap(runner.model))


def _restore_gradients(model: torch.nn.Module, gradients: dict) -> None:
    parameters = dict(model.named_parameters())
    for name, value in gradients.items():
        parameter = parameters.get(name)
        if (
            parameter is None
            or not isinstance(value, torch.Tensor)
            or value.shape != parameter.shape
            or not value.is_floating_point()
        ):
            raise ResumeError(
                f'{EXACT}.gradients has {printable(name)}, which is not the '
                'gradient of a parameter of this model'
            )
        parameter.grad = value.to(parameter.device, parameter.dtype)


def _break_gradients(model: torch.nn.Module) -> None:
    """Give the parameters NaN gradients, so that the next step is skipped."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, math.nan)
