# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Resume: check the moments of a saved optimizer.

Fused kernels take the size of a moment from its parameter. If a saved moment
were too short, they would read and write beyond its end.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.optim import Optimizer

from mmcae.checkpoint.plain_values import (
    MAX_COUNT,
    ResumeError,
    is_number,
    number_of,
    require_dict,
    same_kind,
)
from mmcae.checkpoint.printable import printable, printable_set

#: Settings that do not change what a step computes. Each run chooses them for
#: its own machine.
HOW_A_STEP_RUNS = ('capturable', 'differentiable', 'foreach', 'fused')


def check_moments(optimizer: Optimizer, state: Any, groups: list) -> None:
    """Check the saved state of every parameter.

    Args:
        optimizer: The run's optimizer.
        state: ``state`` of the saved optimizer; changed in place.
        groups: ``param_groups`` of the saved optimizer, already checked.

    Raises:
        ResumeError: If it is not the state of these parameters.
    """
    if not isinstance(state, dict):
        raise ResumeError('its optimizer has no dictionary of states')
    pairs = list(_pairs(optimizer, groups))
    unknown = set(state) - {key for key, _, _ in pairs}
    if unknown:
        raise ResumeError(
            f'its optimizer has states of {len(unknown)} unknown parameters '
            f'({printable(next(iter(unknown)))})'
        )
    addresses: set[int] = set()
    examples: dict[tuple, dict | None] = {}
    absent = 0
    for key, param, group in pairs:
        kind = (tuple(param.shape), param.stride(), param.dtype, id(group))
        if kind not in examples:
            examples[kind] = _example_state(optimizer, param, group)
        wanted = examples[kind]
        if key not in state:
            absent += bool(wanted) and param.requires_grad
            continue
        given = require_dict(state[key], f'state of parameter {key}')
        where = f'parameter {key} with shape {tuple(param.shape)}'
        _check_state(given, wanted, param, where)
        _require_own_memory(given, addresses, where)
    _report_absent(absent, state, pairs)


def _report_absent(absent: int, state: dict, pairs: list) -> None:
    if not absent:
        return
    if not state:
        raise ResumeError('its optimizer has no state of any parameter')
    print_log(
        f'The resumed optimizer has no state of {absent} of {len(pairs)} '
        'parameters (never trained before?): their state begins empty.',
        logger='current',
        level=30,
    )


def _pairs(
    optimizer: Optimizer, groups: list
) -> Iterator[tuple[int, Tensor, dict]]:
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        for key, param in zip(group['params'], own['params'], strict=True):
            yield key, param, group


def _example_state(
    optimizer: Optimizer, param: Tensor, group: dict
) -> dict[str, Any] | None:
    """Let a copy of the optimizer take a step, and return its state.

    Args:
        optimizer: The run's optimizer; not changed.
        param: One of its parameters.
        group: The settings that the parameter will have.

    Returns:
        The state, or None if the optimizer cannot take such a step.
    """
    with suppress(Exception):
        probe = torch.zeros_like(param, device='cpu', requires_grad=True)
        probe.grad = torch.zeros_like(probe)
        twin = copy.copy(optimizer)
        twin.state = defaultdict(dict)
        switches = {k: False for k in HOW_A_STEP_RUNS if k in group}
        twin.param_groups = [{**group, **switches, 'params': [probe]}]
        twin.step()
        return twin.state[probe]
    return None


def _check_state(
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
            f'its optimizer keeps {printable_set(given)} of {where}, and '
            f'that of this config {printable_set(wanted)}'
        )
    for name, own in wanted.items():
        given[name] = _fitted(name, given[name], own, where)


def _fitted(name: str, value: Any, own: Any, where: str) -> Any:
    """Check an entry of a state; return it as the optimizer expects it."""
    where = f'{name} of {where}'
    if not isinstance(own, Tensor):
        if own is not None and not same_kind(value, own):
            raise ResumeError(
                f'its {where} is {printable(value)}, where this optimizer '
                f'has {printable(own)}'
            )
        return value
    if value is None and name == 'momentum_buffer':
        return None  # SGD of older torch stores this before its first step
    if own.ndim == 0:
        number = number_of(value)
        if (
            number is None
            or not abs(number) <= MAX_COUNT
            or (number < 0 and name == 'step')
        ):
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
        raise ResumeError(f'its {where} is not a dense tensor')
    if value.stride() == own.stride():
        return value
    # Fused kernels go through the memory, not through the indices: moment and
    # parameter must have the same strides.
    fitted = torch.empty_strided(
        own.shape, own.stride(), dtype=own.dtype, device=value.device
    )
    return fitted.copy_(value)


def _check_unknown(name: Any, value: Any, param: Tensor, where: str) -> None:
    """Check an entry without an example: only what is safe for any kernel."""
    if isinstance(value, Tensor) and value.numel() != 1:
        fits = value.shape == param.shape and value.is_contiguous()
        fits = fits and value.layout is torch.strided
    else:
        fits = value is None or isinstance(value, bool) or is_number(value)
    if not fits:
        shown = _kind(value) if isinstance(value, Tensor) else printable(value)
        raise ResumeError(f'its {printable(name)} of {where} is {shown}')


def _require_own_memory(given: dict, addresses: set[int], where: str) -> None:
    """Refuse moments that share memory: a step would update it twice."""
    for name, value in given.items():
        if isinstance(value, Tensor) and value.numel() > 1:
            if value.data_ptr() in addresses:
                raise ResumeError(
                    f'its {printable(name)} of {where} shares its memory '
                    'with another'
                )
            addresses.add(value.data_ptr())


def _kind(value: Tensor) -> str:
    name = str(value.dtype).removeprefix('torch.')
    return f'{name} {tuple(value.shape)}'
