# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files of safetensors: the header is checked, then the library reads."""

import json
from contextlib import suppress
from math import prod
from typing import Any

import torch

from mmcae.checkpoint.limits import MAX_DEPTH, MAX_HEADER
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.tensors import MapLocation, whole

# Metadata that is no string; safetensors stores it as JSON.
JSON_META = ('arch', 'dataset_meta', 'epoch', 'iter', 'tokenizer')
_BITS = {
    'BOOL': 8, 'U8': 8, 'I8': 8, 'U16': 16, 'I16': 16, 'U32': 32, 'I32': 32,
    'U64': 64, 'I64': 64, 'F16': 16, 'BF16': 16, 'F32': 32, 'F64': 64,
    'F8_E4M3': 8, 'F8_E5M2': 8, 'F8_E8M0': 8, 'C64': 64,
}  # fmt: skip


def decode_safetensors(content: bytes, map_location: MapLocation) -> dict:
    """Read a file of safetensors.

    Args:
        content: The file's bytes.
        map_location: A device for all tensors; other kinds are ignored, for
            these tensors come from no device.

    Returns:
        ``{'state_dict': ..., 'meta': ...}``.

    Raises:
        ValueError: If header and data do not agree.
    """
    from safetensors.torch import load

    header = _header(content)
    state_dict = load(content)
    for name, value in state_dict.items():
        if value.dtype == torch.bool and (value.view(torch.uint8) > 1).any():
            raise ValueError(f'{printable(name)} is not bool')
    if isinstance(map_location, str | torch.device):
        state_dict = {k: v.to(map_location) for k, v in state_dict.items()}
    meta = header.get('__metadata__') or {}
    for key in JSON_META:
        # Another writer may mean something else by the key.
        with suppress(KeyError, ValueError, RecursionError):
            meta[key] = json.loads(meta[key])
    return {'state_dict': state_dict, 'meta': meta}


def _header(content: bytes) -> dict[str, Any]:
    """Check the header against the file's size; return it."""
    size = int.from_bytes(content[:8], 'little')
    if len(content) < 8 or size > min(MAX_HEADER, len(content) - 8):
        raise ValueError(f'a header of {size} bytes')
    try:
        header = json.loads(
            content[8 : 8 + size].decode(), object_pairs_hook=_no_duplicates
        )
    except RecursionError:
        raise ValueError('a header nested too deeply') from None
    if type(header) is not dict:
        raise ValueError('a header that is no dictionary')
    spans = []
    for name, entry in header.items():
        if name == '__metadata__':
            if type(entry) is not dict or not all(
                type(value) is str for value in entry.values()
            ):
                raise ValueError('metadata that is not text')
        else:
            spans.append((*_span(name, entry), name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            raise ValueError(f'{printable(name)} overlaps or leaves a hole')
        position = end
    if position != len(content) - 8 - size:
        raise ValueError(
            f'{len(content) - 8 - size} bytes of data instead of {position}'
        )
    return header


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Check one tensor's entry; return where its data begin and end."""
    what = printable(name)
    if type(entry) is not dict or set(entry) != {
        'dtype', 'shape', 'data_offsets',
    }:  # fmt: skip
        raise ValueError(f'{what} is not described')
    dtype, shape, offsets = (
        entry[key] for key in ('dtype', 'shape', 'data_offsets')
    )
    if dtype not in _BITS:
        raise ValueError(f'{what} is of type {printable(dtype)}')
    if type(shape) is not list or type(offsets) is not list:
        raise ValueError(f'{what} is not described')
    if len(shape) > MAX_DEPTH or len(offsets) != 2:
        raise ValueError(f'{what} is not described')
    sides = [whole(side, f'{what} with a side of') for side in shape]
    begin, end = (whole(n, f'{what} at') for n in offsets)
    if end - begin != prod(sides) * _BITS[dtype] // 8:
        raise ValueError(
            f'{what} of shape {sides} and type {dtype} in {end - begin} bytes'
        )
    return begin, end


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('a header that names something twice')
    return found
