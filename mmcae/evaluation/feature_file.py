# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Reads files of tools/extract_features.py, without running their code."""

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from mmcae.checkpoint.errors import UnreadableCheckpointError, printable
from mmcae.checkpoint.reading import read_checkpoint

_ARRAYS = ('features', 'labels', 'classes')


def read_features(path: str | os.PathLike) -> tuple[Tensor, list[str]]:
    """Read features and the class of each sample.

    Args:
        path: A ``.npz`` or ``.safetensors`` file.

    Returns:
        Features, float ``(N, D)``, and N names of classes.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableCheckpointError: If the file is damaged, has another format,
            or has no labels.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{path} can not be found.')
    if path.suffix != '.npz':
        arrays = _read_safetensors(path)
    else:
        try:
            arrays, reason = _read_npz(path), ''
        except Exception as error:
            # A damaged file can raise a dozen types of errors.
            reason = f'{type(error).__name__}: {printable(error, 200)}'
        if reason:
            raise UnreadableCheckpointError(
                f'{path} is damaged or not a file of features ({reason}); '
                'extract them again.'
            )
    fault = _fault(arrays)
    if fault:
        raise UnreadableCheckpointError(f'{path} {fault}.')
    classes = [str(name) for name in arrays['classes']]
    names = [classes[label] for label in arrays['labels'].tolist()]
    return torch.as_tensor(arrays['features']), names


def _read_safetensors(path: Path) -> dict[str, Any]:
    content = read_checkpoint(path)
    arrays = dict(content['state_dict'])
    try:
        arrays['classes'] = json.loads(content['meta'].get('classes', 'null'))
    except (ValueError, RecursionError):
        arrays['classes'] = 'damaged'
    return arrays


def _read_npz(path: Path) -> dict[str, Any]:
    """Read the arrays; none may claim more bytes than the file has."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in _ARRAYS:
            try:
                info = archive.getinfo(f'{name}.npy')
            except KeyError:
                continue
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f'{name} is compressed')
            if info.file_size > path.stat().st_size:
                raise ValueError(f'{name} is larger than the file')
            with archive.open(info) as file:
                found[name] = _read_array(file, info.file_size)  # type: ignore
    return found


def _read_array(file: BinaryIO, size: int) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f'an array of format {version}')
    shape, fortran, dtype = header
    if dtype.kind not in 'iufU':
        raise ValueError(f'an array of {printable(dtype)}')
    data = file.read(size)
    if min(shape, default=0) < 0 or (
        math.prod(shape) * dtype.itemsize != len(data)
    ):
        raise ValueError(f'an array of shape {shape} in {len(data)} bytes')
    flat = np.frombuffer(bytearray(data), dtype)
    return flat.reshape(shape, order='F' if fortran else 'C')


def _fault(arrays: dict[str, Any]) -> str:
    """Return what is wrong with the arrays, or an empty string."""
    features, labels, classes = map(arrays.get, _ARRAYS)
    if features is None:
        return 'has no features'
    if labels is None or classes is None:
        return (
            'has no labels: extract from a folder with one subfolder for '
            'each class'
        )
    features, labels = torch.as_tensor(features), torch.as_tensor(labels)
    if features.ndim != 2 or not features.is_floating_point():
        return f'has features of shape {tuple(features.shape)}'
    if labels.shape != features.shape[:1] or labels.is_floating_point():
        return (
            f'has labels of shape {tuple(labels.shape)} for {len(features)} '
            'features'
        )
    named = isinstance(classes, list) and all(
        isinstance(name, str) for name in classes
    )
    if not named and not (
        isinstance(classes, np.ndarray)
        and classes.ndim == 1
        and classes.dtype.kind == 'U'
    ):
        return 'has classes that are not a list of names'
    if len(labels) and not (
        0 <= int(labels.min()) <= int(labels.max()) < len(classes)
    ):
        return f'has labels outside of its {len(classes)} classes'
    return ''
