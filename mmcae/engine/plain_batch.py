# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A batch as plain data, which the reader of checkpoints accepts."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

#: The key that tells an object from a dictionary.
_CLASS = '__class__'
#: Classes that a file may name; no other is ever made.
_ELEMENTS = {
    'mmengine.structures': ('BaseDataElement', 'InstanceData', 'PixelData'),
    'mmpretrain.structures': ('DataSample', 'MultiTaskDataSample'),
    'mmseg.structures': ('SegDataSample',),
    'mmdet.structures': ('DetDataSample',),
}
_BOXES = {'mmdet.structures.bbox': ('HorizontalBoxes',)}
_MASKS = {'mmdet.structures.mask': ('BitmapMasks', 'PolygonMasks')}
_PLAIN: tuple[Any, ...] = (type(None), bool, int, float, str, bytes)


def to_plain(value: Any) -> Any:
    """Describe a batch with plain values and tensors.

    Args:
        value: A batch of a data loader: containers, tensors, arrays, and data
            elements of mmengine, mmpretrain, mmsegmentation and mmdetection.

    Returns:
        The same with dictionaries in place of objects. An object of another
        class becomes its text, which `from_plain` leaves as it is.
    """
    for kind in _PLAIN:
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().as_subclass(torch.Tensor)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return _object('ndarray', data=torch.from_numpy(value.copy()))
    if isinstance(value, dict):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        kind = tuple if isinstance(value, tuple) else list
        return kind(to_plain(one) for one in value)
    name = _name_of(value)
    if isinstance(value, BaseDataElement) and _knows(_ELEMENTS, name):
        return _object(
            name,
            meta=to_plain(dict(value.metainfo_items())),
            data=to_plain(dict(value.items())),
        )
    if _knows(_BOXES, name):
        return _object(name, data=to_plain(value.tensor))
    if _knows(_MASKS, name):
        size = (value.height, value.width)
        return _object(name, data=to_plain(value.masks), size=size)
    return str(value)


def from_plain(value: Any) -> Any:
    """Make a batch from what `to_plain` returned.

    Args:
        value: The content of a file; it is not trusted.

    Returns:
        The batch.

    Raises:
        ValueError: If it names a class that `to_plain` does not write.
    """
    if isinstance(value, tuple | list):
        return type(value)(map(from_plain, value))
    if not isinstance(value, dict):
        return value
    if _CLASS not in value:
        return {key: from_plain(one) for key, one in value.items()}
    name, data = value[_CLASS], from_plain(value.get('data'))
    if name == 'ndarray' and isinstance(data, torch.Tensor):
        return data.numpy()
    if _knows(_ELEMENTS, name):
        element = _class(_ELEMENTS, name)(metainfo=from_plain(value['meta']))
        for key, one in data.items():
            element.set_field(one, key)
        return element
    if _knows(_BOXES, name):
        return _class(_BOXES, name)(data, clone=False)
    if _knows(_MASKS, name):
        return _class(_MASKS, name)(data, *value['size'])
    raise ValueError(f'the batch has an object of the class {name!r}')


def _object(name: str, **parts: Any) -> dict:
    return {_CLASS: name, **parts}


def _name_of(value: Any) -> str:
    # The class is defined in a module below the package that exports it.
    return f'{type(value).__module__}.{type(value).__name__}'


def _knows(classes: dict, name: Any) -> bool:
    return _find(classes, name) is not None


def _find(classes: dict, name: Any) -> tuple[str, str] | None:
    package, _, kind = str(name).rpartition('.')
    for module, kinds in classes.items():
        inside = package == module or package.startswith(f'{module}.')
        if inside and kind in kinds:
            return module, kind
    return None


def _class(classes: dict, name: str) -> Any:
    found = _find(classes, name)
    assert found is not None
    module, kind = found
    return getattr(import_module(module), kind)
