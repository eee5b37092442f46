# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a transform does to the tokenizer's view, in plain JSON values.

Stored tokens are valid only for the views that they were computed from, so
the header of a token store describes every transform that shapes these views.

A transform says this itself, with a method
``target_view_settings() -> dict | None``. It returns the settings that change
the tokenizer's view (or the random draws behind it), or None if the transform
does not change that view at all.
"""

from typing import Any

import numpy as np
import torch


def target_view_settings(transform: Any) -> dict | None:
    """Describe what a transform does to the tokenizer's view.

    The answer comes from the transform's own ``target_view_settings``. A
    transform without that method is described by :func:`public_settings`.
    A class of another package that inherits the method from a transform of
    mmcae is described by both, because the inherited method does not know
    the settings that the subclass adds.

    Args:
        transform: Any transform.

    Returns:
        Plain JSON values, or None if it does not change the view.
    """
    ask = getattr(transform, 'target_view_settings', None)
    if ask is None:
        return public_settings(transform)
    settings = ask()
    kind = type(transform)
    says_it_itself = 'target_view_settings' in vars(kind)
    if settings is None or says_it_itself or is_of_mmcae(transform):
        return to_json(settings)
    return {**public_settings(transform), **to_json(settings)}


def changes_target_view(transform: Any) -> bool:
    """Say whether a transform may change the tokenizer's view."""
    ask = getattr(transform, 'target_view_settings', None)
    return ask is None or ask() is not None


def public_settings(transform: Any) -> dict:
    """Describe an object by its public attributes: the default.

    An attribute is public unless its name begins with an underscore.

    Args:
        transform: The object, for example a transform of another package.

    Returns:
        The attributes as JSON values, in alphabetical order.
    """
    return {
        key: to_json(value)
        for key, value in sorted(getattr(transform, '__dict__', {}).items())
        if not key.startswith('_')
    }


def is_of_mmcae(transform: Any) -> bool:
    """Say whether the class of a transform is part of mmcae."""
    return type(transform).__module__.startswith('mmcae.')


def describe_in_order(transforms: Any) -> dict:
    """Describe transforms that run one after the other.

    A transform that does not change the view is described by its public
    attributes. It could be left out, but then tokens that were stored by
    earlier versions would no longer match.

    Args:
        transforms: The transforms.

    Returns:
        One entry per transform. The number in its key keeps the order.
    """
    return {
        f'{i}_{type(transform).__name__}': to_json(transform)
        for i, transform in enumerate(transforms)
    }


def to_json(value: Any) -> Any:
    """Turn settings, and objects that have some, into JSON values.

    Args:
        value: A setting, a container of settings, a function (described by
            its name), or an object such as a transform.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if callable(value) and hasattr(value, '__qualname__'):
        return f'{value.__module__}.{value.__qualname__}'
    if not hasattr(value, '__dict__'):
        return repr(value)
    settings = target_view_settings(value)
    return public_settings(value) if settings is None else settings
