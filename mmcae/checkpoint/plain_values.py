# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Checks of the numbers and settings that a checkpoint carries."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from mmcae.checkpoint.printable import printable

# Above it, adding 1 to a float changes nothing.
MOST = 2**53


class ResumeError(ValueError):
    """A checkpoint from which this run cannot go on."""


def require_count(
    value: Any, name: str, below: int = MOST, least: int = 0
) -> int:
    """Check a number of steps, epochs and the like.

    Args:
        value: What the file has.
        name: Where, for the message.
        below: The first number that is too large.
        least: The smallest number.

    Raises:
        ResumeError: If it is no integer, too small or too large.
    """
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not least <= value < below
    ):
        raise ResumeError(
            f'its {name} is {printable(value)}, not an integer from '
            f'{least} to {below - 1}'
        )
    return value


def require_dict(value: Any, name: str) -> dict:
    """Check that a part of a checkpoint is a dictionary with string keys.

    Raises:
        ResumeError: If it is none.
    """
    if not isinstance(value, dict):
        raise ResumeError(
            f'its {name} is a {type(value).__name__}, not a dictionary'
        )
    for key in value:
        if not isinstance(key, str):
            raise ResumeError(
                f'a key of its {name} is {printable(key)}, not a string'
            )
    return value


def number_of(value: Any) -> float | None:
    """Read a Python, NumPy or torch number; None if it is not one."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, Tensor):
        return value.item() if _is_real_scalar(value) else None
    if isinstance(value, int | float | np.integer | np.floating):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    number = number_of(value)
    return number is not None and math.isfinite(number)


def same_kind(value: Any, own: Any) -> bool:
    """Whether a value of a file may stand where this run has its own.

    Numbers may differ if they are finite, lists and dictionaries in their
    numbers but not in length or keys. Strings are names, and must be equal.

    Args:
        value: The file's.
        own: This run's.
    """
    if own is None:  # not set yet, such as a best score
        return value is None or isinstance(value, bool) or is_number(value)
    if isinstance(own, bool):
        return isinstance(value, bool) or value is None
    if isinstance(own, str):
        return value == own
    if number_of(own) is not None:
        # A setting may begin at infinity, such as the best score so far.
        return is_number(value) or (
            number_of(value) is not None and not is_number(own)
        )
    if isinstance(own, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(own)
            and all(map(same_kind, value, own))
        )
    if isinstance(own, Mapping):
        return (
            isinstance(value, Mapping)
            and value.keys() == own.keys()
            and all(same_kind(value[key], own[key]) for key in own)
        )
    # Nothing of a file can be compared with other objects.
    return False


def _is_real_scalar(value: Tensor) -> bool:
    return value.numel() == 1 and not value.is_complex()
