# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Whether an optimizer's saved state belongs to its parameters.

``load_state_dict`` of torch compares neither shapes nor settings, and fused
kernels take the size of a moment from its parameter: a moment that is too
short is read and written beyond its end.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from torch import Tensor
from torch.optim import Optimizer

from mmcae.checkpoint.plain_values import (
    MOST,
    ResumeError,
    is_number,
    number_of,
    require_dict,
    same_kind,
)
from mmcae.checkpoint.printable import printable

# How a step is computed, not what: each run decides for its own machine.
_IMPLEMENTATION = ('capturable', 'differentiable', 'foreach', 'fused')


def check_optimizer(wrapper: Any, state: Any) -> None:
    """Check a saved optimizer before it is loaded.

    Missing switches are filled in, and moments with another layout in
    memory are replaced by equal ones with their parameter's.

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
            f'its optimizers are {_names(state)}, and those of this config '
            f'{_names(wrapper.optim_wrappers)}'
        )
    for name, part in wrapper.optim_wrappers.items():
        _check_wrapper(part, require_dict(state[name], f'optimizer {name}'))


def _check_wrapper(wrapper: Any, state: dict) -> None:
    _fit_extras(wrapper, state)
    optimizer = wrapper.optimizer
    _check_groups(optimizer, state.get('param_groups'))
    _check_state(optimizer, state.get('state'), state['param_groups'])


def _fit_extras(wrapper: Any, state: dict) -> None:
    """Check what mmengine stores beside the state of torch's optimizer."""
    base = getattr(wrapper, 'base_param_settings', None)
    if base is None or state.get('base_param_settings') is None:
        # Its presence decides the length of the schedulers' lists.
        state.pop('base_param_settings', None)
    else:
        given = require_dict(state['base_param_settings'], 'base settings')
        given['params'] = base['params']
        _check_settings(given, base, 'its base settings')
    scaler = getattr(wrapper, 'loss_scaler', None)
    own = scaler.state_dict() if scaler is not None else {}
    scale = state.get('loss_scaler')
    if not own or not scale:  # of a run without one, or in bfloat16
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
    """Check settings, and give switches of another version their default."""
    for key in set(group) - set(own):
        # Of a version that has more switches, or of a removed scheduler.
        if group[key] is None or isinstance(group[key], bool):
            del group[key]
    for key, value in own.items():
        if key in _IMPLEMENTATION:
            group[key] = value
        elif value is None or isinstance(value, bool) or _is_initial(key):
            group.setdefault(key, value)
    extra = {key for key in set(group) - set(own) if not _is_initial(key)}
    missing = set(own) - set(group)
    if extra or missing:
        raise ResumeError(
            f'{where} has the settings {_names(set(group) - {"params"})}, '
            f'and this optimizer {_names(set(own) - {"params"})}'
        )
    for key, value in group.items():
        fits = same_kind(value, own[key]) if key in own else is_number(value)
        if key != 'params' and not fits:
            raise ResumeError(
                f'{where} has {printable(key)}={printable(value)}, where '
                f'this run has {printable(own.get(key, "none"))}'
            )


def _is_initial(key: str) -> bool:
    """Whether a setting is a scheduler's note of where it began."""
    return key.startswith('initial_')


def _check_state(optimizer: Optimizer, state: Any, groups: list) -> None:
    if not isinstance(state, dict):
        raise ResumeError('its optimizer has no dictionary of states')
    pairs = list(_pairs(optimizer, groups))
    unknown = set(state) - {key for key, _, _ in pairs}
    if unknown:
        raise ResumeError(
            f'its optimizer has states of {len(unknown)} unknown parameters '
            f'({printable(next(iter(unknown)))})'
        )
    homes: set[int] = set()
    makers: dict[tuple, dict | None] = {}
    absent = 0
    for key, param, group in pairs:
        kind = (tuple(param.shape), param.stride(), param.dtype, id(group))
        if kind not in makers:
            makers[kind] = _made_by(optimizer, param, group)
        wanted = makers[kind]
        if key not in state:
            absent += bool(wanted) and param.requires_grad
            continue
        given = require_dict(state[key], f'state of parameter {key}')
        where = f'parameter {key} with shape {tuple(param.shape)}'
        _check_moments(given, wanted, param, where)
        _require_own_memory(given, homes, where)
    _report_absent(absent, state, pairs)


def _report_absent(absent: int, state: dict, pairs: list) -> None:
    if not absent:
        return
    if not state:
        raise ResumeError('its optimizer has no state of any parameter')
    print_log(
        f'The resumed optimizer has no state of {absent} of {len(pairs)} '
        'parameters (never trained before?): theirs begin anew.',
        logger='current',
        level=30,
    )


def _pairs(
    optimizer: Optimizer, groups: list
) -> Iterator[tuple[int, Tensor, dict]]:
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        for key, param in zip(group['params'], own['params'], strict=True):
            yield key, param, group


def _made_by(
    optimizer: Optimizer, param: Tensor, group: dict
) -> dict[str, Any] | None:
    """Let a copy of the optimizer take a step, to see what state it makes.

    Args:
        optimizer: The run's; left as it is.
        param: One of its parameters.
        group: The settings that it will have.

    Returns:
        The state, or None where the optimizer cannot step like that.
    """
    with suppress(Exception):
        probe = torch.zeros_like(param, device='cpu', requires_grad=True)
        probe.grad = torch.zeros_like(probe)
        twin = copy.copy(optimizer)
        twin.state = defaultdict(dict)
        switches = {k: False for k in _IMPLEMENTATION if k in group}
        twin.param_groups = [{**group, **switches, 'params': [probe]}]
        twin.step()
        return twin.state[probe]
    return None


def _check_moments(
    given: dict, wanted: dict | None, param: Tensor, where: str
) -> None:
    if wanted is None:
        for name, value in given.items():
            _check_unknown(name, value, param, where)
        return
    missing = [name for name in wanted if name not in given]
    extra = [
        name
        for name, value in given.items()
        if name not in wanted and value is not None
    ]
    if missing or extra:
        raise ResumeError(
            f'its optimizer keeps {_names(given)} of {where}, and that of '
            f'this config {_names(wanted)}'
        )
    for name, own in wanted.items():
        given[name] = _fitted(name, given[name], own, where)


def _fitted(name: str, value: Any, own: Any, where: str) -> Any:
    """Check one entry of a state; return it as the optimizer expects it."""
    where = f'{name} of {where}'
    if not isinstance(own, Tensor):
        if own is not None and not same_kind(value, own):
            raise ResumeError(
                f'its {where} is {printable(value)}, where this optimizer '
                f'has {printable(own)}'
            )
        return value
    if value is None and name == 'momentum_buffer':
        return None  # as SGD of older versions writes before its first step
    if own.ndim == 0:
        number = number_of(value)
        if number is None or not abs(number) <= MOST or (
            number < 0 and name == 'step'
        ):  # fmt: skip
            raise ResumeError(f'its {where} is {printable(value)}')
        if isinstance(value, Tensor):
            return value.reshape(()).to(own.dtype)
        return torch.tensor(number, dtype=own.dtype)
    if not isinstance(value, Tensor):
        raise ResumeError(f'its {where} is a {type(value).__name__}')
    if value.shape != own.shape or value.dtype != own.dtype:
        raise ResumeError(
            f'its {where} is {_kind(value)} and must be {_kind(own)}'
        )
    if value.layout is not torch.strided or value.is_quantized:
        raise ResumeError(f'its {where} is no dense tensor')
    if value.stride() == own.stride():
        return value
    # Fused kernels walk along the memory: it must lie as the parameter's.
    fitted = torch.empty_strided(
        own.shape, own.stride(), dtype=own.dtype, device=value.device
    )
    return fitted.copy_(value)


def _check_unknown(name: Any, value: Any, param: Tensor, where: str) -> None:
    """Without an example only what no kernel can exceed passes."""
    if isinstance(value, Tensor) and value.numel() != 1:
        fits = value.shape == param.shape and value.is_contiguous()
        fits = fits and value.layout is torch.strided
    else:
        fits = value is None or isinstance(value, bool) or is_number(value)
    if not fits:
        shown = _kind(value) if isinstance(value, Tensor) else printable(value)
        raise ResumeError(f'its {printable(name)} of {where} is {shown}')


def _require_own_memory(given: dict, homes: set[int], where: str) -> None:
    """Two moments in one place would be updated twice a step."""
    for name, value in given.items():
        if isinstance(value, Tensor) and value.numel() > 1:
            if value.data_ptr() in homes:
                raise ResumeError(
                    f'its {printable(name)} of {where} shares its memory '
                    'with another'
                )
            homes.add(value.data_ptr())


def _kind(value: Tensor) -> str:
    name = str(value.dtype).removeprefix('torch.')
    return f'{name} {tuple(value.shape)}'


def _names(names: Any) -> str:
    shown = sorted(printable(name) for name in names)
    more = f', ... ({len(shown)})' if len(shown) > 12 else ''
    return f'({", ".join(shown[:12])}{more})'
