# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a run needs, beside weights and optimizer, to continue exactly."""

from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size

from mmcae.checkpoint.plain_values import ResumeError, require_count
from mmcae.checkpoint.printable import printable
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
        whole epoch; ``random_states``: one of each process; ``gradients``:
        by parameter name, those that wait for the optimizer's next step.
    """
    batches = len(runner.train_dataloader)
    gradients = {
        name: parameter.grad.detach().cpu()
        for name, parameter in _model(runner).named_parameters()
        if parameter.grad is not None
    }
    return {
        'batch': getattr(runner.train_loop, 'batch', 0),
        'batches': batches,
        'random_states': all_gather_object(get_random_state()),
        # Each process has accumulated its own: those of one would be wrong.
        'gradients': gradients if get_world_size() == 1 else {},
    }


def restore_position(runner: Any, checkpoint: dict) -> None:
    """Continue from a position, as far as the checkpoint has it.

    Args:
        runner: The resumed run.
        checkpoint: What the file holds.

    Raises:
        ResumeError: If the file was saved inside of an epoch, and the
            epochs of this run have another number of batches.
    """
    position = checkpoint.get(EXACT)
    if not isinstance(position, dict):
        return  # mmengine's own CheckpointHook wrote it
    loop = runner.train_loop
    batch = require_count(position.get('batch'), f'{EXACT}.batch')
    batches = require_count(position.get('batches'), f'{EXACT}.batches')
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
    _restore_gradients(runner, position.get('gradients'))


def _restore_gradients(runner: Any, gradients: Any) -> None:
    parameters = dict(_model(runner).named_parameters())
    for name, value in (gradients or {}).items():
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


def _model(runner: Any) -> torch.nn.Module:
    return getattr(runner.model, 'module', runner.model)
