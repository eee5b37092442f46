# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Checks of the numbers and settings that a resumed checkpoint holds."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from mmcae.checkpoint.printable import printable

# The largest count. For larger values, adding 1 to a float64 has no effect.
MAX_COUNT = 2**53


class ResumeError(ValueError):
    """This run cannot be resumed from the checkpoint."""


def require_count(
    value: Any, name: str, below: int = MAX_COUNT, least: int = 0
) -> int:
    """Check a number of steps, of epochs or the like.

    Args:
        value: The value in the file.
        name: Its name in the file, for the message.
        below: The smallest number that is too large.
        least: The smallest number that is allowed.

    Returns:
        The value.

    Raises:
        ResumeError: If it is not an integer in this range.
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

    Args:
        value: The value in the file.
        name: Its name in the file, for the message.

    Returns:
        The value.

    Raises:
        ResumeError: If it is not such a dictionary.
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
    """Return a Python, NumPy or torch number as a float; else None."""
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
    """Whether a value of the file can replace a value of this run.

    Numbers may differ, but must be finite. Lists must have the same length
    and dictionaries the same keys, with values for which the same holds.
    Strings are names of options, so they must be equal.

    Args:
        value: The value in the file.
        own: The value of this run.
    """
    if own is None:  # not set yet, such as the best score
        return value is None or isinstance(value, bool) or is_number(value)
    if isinstance(own, bool):
        return isinstance(value, bool) or value is None
    if isinstance(own, str):
        return value == own
    if number_of(own) is not None:
        # This run's value can be infinite, such as the first best score. Then
        # the value of the file can be infinite, too.
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
    # Other objects cannot come from a checkpoint.
    return False


def _is_real_scalar(value: Tensor) -> bool:
    return value.numel() == 1 and not value.is_complex()
