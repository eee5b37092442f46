# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From the bytes of a checkpoint to its content: the steps in their order."""

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
        content: The bytes of the file.
        name: Its name: decides the format, and appears in messages.
        map_location: As for ``torch.load``.

    Returns:
        The content of the file.

    Raises:
        UnsafeCheckpointError: If the file needs code to be read.
        UnreadableCheckpointError: If it is damaged or not a checkpoint.
    """
    return decode_file(io.BytesIO(content), name, map_location)


def decode_file(
    file: BinaryIO, name: str, map_location: MapLocation = 'cpu'
) -> dict:
    """Decode a checkpoint that is open for reading.

    Args:
        file: The file; it must support ``seek``.
        name: Its name: decides the format, and appears in messages.
        map_location: As for ``torch.load``.

    Returns:
        The content of the file.

    Raises:
        UnsafeCheckpointError: If the file needs code to be read.
        UnreadableCheckpointError: If it is damaged or not a checkpoint.
    """
    with errors_with_name(file, name, 'a checkpoint'):
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
def errors_with_name(file: BinaryIO, name: str, kind: str) -> Iterator[None]:
    """Turn every error of the reader into one sentence with the file name.

    Args:
        file: The file.
        name: Its name.
        kind: What the file should be, such as ``'a checkpoint'``.

    Raises:
        UnsafeCheckpointError: For a name that is not on the allow list.
        UnreadableCheckpointError: For every other error.
    """
    shown = printable(name, 1000)
    try:
        yield
    except UnknownNameError as error:
        raise UnsafeCheckpointError(
            f'{shown} is refused because reading it would call {error.name}, '
            f'which {kind} does not need; nothing was executed. If you trust '
            'the source of the file, save its state dict as safetensors '
            'where it was made.'
        ) from None
    except Exception as error:
        # A damaged file can raise a dozen kinds of errors. None of them is
        # a mistake of the caller.
        reason = printable(str(error), 200)
        if not isinstance(error, ValueError):
            reason = f'{type(error).__name__}: {reason}'
        size = file.seek(0, io.SEEK_END)
        raise UnreadableCheckpointError(
            f'{shown} ({size} bytes) is damaged or not {kind} ({reason}); '
            'download or save it again.'
        ) from None
