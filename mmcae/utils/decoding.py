# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a checkpoint's bytes to its content, as data or not at all."""

import io
import json
import pickle
import re
from collections.abc import Callable
from contextlib import suppress

import torch

from mmcae.utils.safe_globals import finish, only_allowed

# Metadata that is no string; safetensors stores it as JSON.
JSON_META = ('arch', 'dataset_meta', 'epoch', 'iter', 'tokenizer')
MapLocation = str | torch.device | dict | Callable | None


class UnsafeCheckpointError(ValueError):
    """A file asks for more than data; nothing in it was executed."""


class UnreadableCheckpointError(ValueError):
    """A file is truncated, damaged, or no checkpoint at all."""


def decode_checkpoint(
    content: bytes, name: str, map_location: MapLocation = 'cpu'
) -> dict:
    """Decode the bytes of a checkpoint; see :func:`read_checkpoint`.

    Args:
        content (bytes): The file's content.
        name (str): Its name, for the format and for messages.
        map_location (str | device | dict | callable, optional): As for
            ``torch.load``.

    Returns:
        dict: What the file holds.
    """
    try:
        if name.lower().endswith('.safetensors'):
            loaded = _decode_safetensors(content, map_location)
        else:
            with only_allowed():
                loaded = torch.load(
                    io.BytesIO(content), map_location, weights_only=True
                )
            loaded = finish(loaded)
    except pickle.UnpicklingError as error:
        raise _explain(name, str(error)) from None
    except Exception as error:
        # A damaged file fails in any of a dozen ways; none is the caller's.
        reason = (str(error).splitlines() or [''])[0]
        raise UnreadableCheckpointError(
            f'{name} ({len(content)} bytes) is damaged or not a checkpoint '
            f'({type(error).__name__}: {reason}); fetch or save it again.'
        ) from None
    if not isinstance(loaded, dict):
        raise UnreadableCheckpointError(
            f'{name} holds a {type(loaded).__name__}, not a dictionary of '
            'weights.'
        )
    return loaded


def _decode_safetensors(content: bytes, map_location: MapLocation) -> dict:
    from safetensors.torch import load

    size = int.from_bytes(content[:8], 'little')
    header = content[8 : 8 + size]
    state_dict = load(content)
    if isinstance(map_location, str | torch.device):
        state_dict = {k: v.to(map_location) for k, v in state_dict.items()}
    meta = json.loads(header).get('__metadata__') or {}
    for key in JSON_META:
        with suppress(KeyError, ValueError):  # another writer's own meaning
            meta[key] = json.loads(meta[key])
    return {'state_dict': state_dict, 'meta': meta}


def _explain(name: str, message: str) -> ValueError:
    wanted = re.search(r'GLOBAL (\S+)', message)
    if wanted is None:
        wanted = re.search(
            r'(?:unrecognized function|but got) (<[^>]*>)', message
        )
    if wanted is None:
        last = [line for line in message.splitlines() if line][-1:]
        reason = re.split('error: ', last[0])[-1] if last else 'no content'
        return UnreadableCheckpointError(
            f'{name} is damaged or not a checkpoint ({reason}).'
        )
    return UnsafeCheckpointError(
        f'{name} is refused because reading it would call {wanted[1]}, which '
        'is not on the list of names that a file of weights needs; nothing '
        'was executed, and if you trust its source, save its state dict as '
        'safetensors where it was made.'
    )
