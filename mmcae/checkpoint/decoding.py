# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a checkpoint's bytes to its content, as data or not at all."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from mmcae.checkpoint.allow_list import ALLOWED
from mmcae.checkpoint.errors import (
    UnknownNameError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.finishing import finish
from mmcae.checkpoint.formats import read_pickle
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.safetensors_file import decode_safetensors
from mmcae.checkpoint.tensors import MapLocation, TensorMaker


def decode_checkpoint(
    content: bytes, name: str, map_location: MapLocation = 'cpu'
) -> dict:
    """Decode the bytes of a checkpoint.

    Args:
        content: The file's content.
        name: Its name, for the format and for messages.
        map_location: As for ``torch.load``.

    Returns:
        What the file holds.

    Raises:
        UnsafeCheckpointError: If the file needs code to be read.
        UnreadableCheckpointError: If it is damaged or of another kind.
    """
    return decode_file(io.BytesIO(content), name, map_location)


def decode_file(
    file: BinaryIO, name: str, map_location: MapLocation = 'cpu'
) -> dict:
    """Decode a checkpoint that is open for reading.

    Args:
        file: The file; it can seek.
        name: Its name, for the format and for messages.
        map_location: As for ``torch.load``.

    Returns:
        What the file holds.

    Raises:
        UnsafeCheckpointError: If the file needs code to be read.
        UnreadableCheckpointError: If it is damaged or of another kind.
    """
    with faults_named(file, name, 'a checkpoint'):
        if name.lower().endswith('.safetensors'):
            file.seek(0)
            loaded = decode_safetensors(file.read(), map_location)
        else:
            described, fetch = read_pickle(file, ALLOWED)
            loaded = finish(described, TensorMaker(fetch, map_location))
    if not isinstance(loaded, dict):
        raise UnreadableCheckpointError(
            f'{printable(name, 1000)} holds a {type(loaded).__name__}, not a '
            'dictionary of weights.'
        )
    return loaded


@contextmanager
def faults_named(file: BinaryIO, name: str, kind: str) -> Iterator[None]:
    """Turn whatever reading a file raises into one sentence with its name.

    Args:
        file: The file.
        name: Its name.
        kind: What it should be, such as ``'a checkpoint'``.

    Raises:
        UnsafeCheckpointError: For a name that is not on the list.
        UnreadableCheckpointError: For every other fault.
    """
    shown = printable(name, 1000)
    try:
        yield
    except UnknownNameError as error:
        raise UnsafeCheckpointError(
            f'{shown} is refused because reading it would call {error.name}, '
            f'which {kind} does not need; nothing was executed, and if you '
            'trust its source, save its state dict as safetensors where it '
            'was made.'
        ) from None
    except Exception as error:
        # A damaged file fails in any of a dozen ways; none is the caller's.
        reason = printable(str(error), 200)
        if not isinstance(error, ValueError):
            reason = f'{type(error).__name__}: {reason}'
        size = file.seek(0, io.SEEK_END)
        raise UnreadableCheckpointError(
            f'{shown} ({size} bytes) is damaged or not {kind} ({reason}); '
            'fetch or save it again.'
        ) from None
