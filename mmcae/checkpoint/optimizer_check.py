# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Resume: check the groups and settings of a saved optimizer.

torch's ``load_state_dict`` compares neither shapes nor settings.
"""

from typing import Any

from mmengine.optim import OptimWrapperDict
from torch.optim import Optimizer

from mmcae.checkpoint.moment_check import HOW_A_STEP_RUNS, check_moments
from mmcae.checkpoint.plain_values import (
    ResumeError,
    is_number,
    require_dict,
    same_kind,
)
from mmcae.checkpoint.printable import printable, printable_set


def check_optimizer(wrapper: Any, state: Any) -> None:
    """Check a saved optimizer before it is loaded.

    Missing switches get their default. A moment whose memory layout differs
    from that of its parameter is replaced by a copy with the right layout.

    Args:
        wrapper: The run's ``OptimWrapper`` or ``OptimWrapperDict``.
        state: ``optimizer`` of the checkpoint; changed in place.

    Raises:
        ResumeError: If it is not the state of this optimizer.
    """
    state = require_dict(state, 'optimizer')
    if not isinstance(wrapper, OptimWrapperDict):
        _check_wrapper(wrapper, state)
        return
    if state.keys() != wrapper.optim_wrappers.keys():
        raise ResumeError(
            f'its optimizers are {printable_set(state)}, and those of this '
            f'config {printable_set(wrapper.optim_wrappers)}'
        )
    for name, part in wrapper.optim_wrappers.items():
        _check_wrapper(part, require_dict(state[name], f'optimizer {name}'))


def _check_wrapper(wrapper: Any, state: dict) -> None:
    _check_wrapper_entries(wrapper, state)
    optimizer = wrapper.optimizer
    _check_groups(optimizer, state.get('param_groups'))
    check_moments(optimizer, state.get('state'), state['param_groups'])


def _check_wrapper_entries(wrapper: Any, state: dict) -> None:
    """Check the entries that mmengine adds to the state of the optimizer."""
    base = getattr(wrapper, 'base_param_settings', None)
    if base is None or state.get('base_param_settings') is None:
        # With this entry, the lists of the schedulers have another length.
        state.pop('base_param_settings', None)
    else:
        given = require_dict(state['base_param_settings'], 'base settings')
        given['params'] = base['params']
        _check_settings(given, base, 'its base settings')
    scaler = getattr(wrapper, 'loss_scaler', None)
    own = scaler.state_dict() if scaler is not None else {}
    scale = state.get('loss_scaler')
    if not own or not scale:  # one of the runs does not scale its loss
        state.pop('loss_scaler', None)
    elif not same_kind(scale, own):
        raise ResumeError(
            f'its loss_scaler is {printable(scale)}, where this run has {own}'
        )


def _check_groups(optimizer: Optimizer, groups: Any) -> None:
    own = optimizer.param_groups
    if not isinstance(groups, list):
        raise ResumeError('its optimizer has no list of param_groups')
    if len(groups) != len(own):
        raise ResumeError(
            f'its optimizer has {len(groups)} groups of parameters, and '
            f'that of this config {len(own)}'
        )
    seen: set[int] = set()
    for number, (group, mine) in enumerate(zip(groups, own, strict=True)):
        where = f'group {number} of its optimizer'
        params = require_dict(group, where).get('params')
        if not isinstance(params, list) or not all(
            type(param) is int for param in params
        ):
            raise ResumeError(f'{where} has no list of parameters')
        if len(params) != len(mine['params']):
            raise ResumeError(
                f'{where} has {len(params)} parameters, and that of this '
                f'config {len(mine["params"])}'
            )
        if len({*params}) != len(params) or seen & {*params}:
            raise ResumeError(f'{where} names a parameter twice')
        seen |= {*params}
        _check_settings(group, mine, where)


def _check_settings(group: dict, own: dict, where: str) -> None:
    """Check settings; add or remove switches of other torch versions."""
    for key in set(group) - set(own):
        # A switch of a newer torch, or a setting of a removed scheduler.
        if group[key] is None or isinstance(group[key], bool):
            del group[key]
    for key, value in own.items():
        if key in HOW_A_STEP_RUNS:
            group[key] = value
        elif value is None or isinstance(value, bool) or _is_initial(key):
            group.setdefault(key, value)
    extra = {key for key in set(group) - set(own) if not _is_initial(key)}
    missing = set(own) - set(group)
    if extra or missing:
        skip = {'params'}
        raise ResumeError(
            f'{where} has the settings {printable_set(group.keys() - skip)}, '
            f'and this optimizer {printable_set(own.keys() - skip)}'
        )
    for key, value in group.items():
        fits = same_kind(value, own[key]) if key in own else is_number(value)
        if key != 'params' and not fits:
            raise ResumeError(
                f'{where} has {printable(key)}={printable(value)}, where '
                f'this run has {printable(own.get(key, "none"))}'
            )


def _is_initial(key: str) -> bool:
    """Whether a scheduler stored this setting as its initial value."""
    return key.startswith('initial_')
