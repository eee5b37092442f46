# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Safetensors files: mmcae checks the header, the library reads the data."""

import json
from contextlib import suppress
from math import prod
from typing import Any

import torch

from mmcae.checkpoint.limits import MAX_DEPTH, MAX_HEADER
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.tensors import MapLocation, whole

# Metadata that `write_weights` stores as JSON, because safetensors has
# strings only.
JSON_META = ('arch', 'dataset_meta', 'epoch', 'iter', 'tokenizer')
_ENTRY_KEYS = ('dtype', 'shape', 'data_offsets')
_BYTES = {
    'BOOL': 1, 'U8': 1, 'I8': 1, 'F8_E4M3': 1, 'F8_E5M2': 1, 'F8_E8M0': 1,
    'U16': 2, 'I16': 2, 'F16': 2, 'BF16': 2, 'U32': 4, 'I32': 4, 'F32': 4,
    'U64': 8, 'I64': 8, 'F64': 8, 'C64': 8,
}  # fmt: skip


def decode_safetensors(content: bytes, map_location: MapLocation) -> dict:
    """Read a safetensors file.

    Args:
        content: The bytes of the file.
        map_location: A device for all tensors. Other kinds of
            ``map_location`` are ignored, because the file does not say which
            device its tensors were on.

    Returns:
        ``{'state_dict': ..., 'meta': ...}``.

    Raises:
        ValueError: If the header does not fit the data.
    """
    from safetensors.torch import load

    header = _header(content)
    state_dict = load(content)
    for name, value in state_dict.items():
        if value.dtype == torch.bool and (value.view(torch.uint8) > 1).any():
            raise ValueError(
                f'{printable(name)} is not bool: it has other values than 0 '
                'and 1'
            )
    if isinstance(map_location, str | torch.device):
        state_dict = {k: v.to(map_location) for k, v in state_dict.items()}
    meta = header.get('__metadata__') or {}
    for key in JSON_META:
        # Another program may store something else under this key.
        with suppress(KeyError, ValueError, RecursionError):
            meta[key] = json.loads(meta[key])
    return {'state_dict': state_dict, 'meta': meta}


def _header(content: bytes) -> dict[str, Any]:
    """Check the header against the size of the file; return it."""
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
        raise ValueError('a header that is not a dictionary')
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
    """Check the entry of a tensor; return where its data begins and ends."""
    what = printable(name)
    if type(entry) is not dict or entry.keys() != set(_ENTRY_KEYS):
        raise ValueError(f'{what} needs exactly {", ".join(_ENTRY_KEYS)}')
    dtype, shape, offsets = (entry[key] for key in _ENTRY_KEYS)
    if dtype not in _BYTES:
        raise ValueError(f'{what} has the dtype {printable(dtype)}')
    if type(shape) is not list or len(shape) > MAX_DEPTH:
        raise ValueError(f'{what} has no valid shape')
    if type(offsets) is not list or len(offsets) != 2:
        raise ValueError(f'{what} has no valid data_offsets')
    sides = [whole(side, f'{what} with a side of') for side in shape]
    begin, end = (whole(n, f'{what} at') for n in offsets)
    if end - begin != prod(sides) * _BYTES[dtype]:
        raise ValueError(
            f'{what} of shape {sides} and dtype {dtype} in {end - begin} bytes'
        )
    return begin, end


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('a header that names something twice')
    return found
