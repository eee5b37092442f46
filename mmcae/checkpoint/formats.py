# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The two formats of ``torch.save``: a zip archive, and the older one."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mmcae.checkpoint.archive import ZIP_MAGIC, Archive
from mmcae.checkpoint.pickle_machine import PickleMachine
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.tensors import StorageRecord, storage_record

Fetch = Callable[[StorageRecord], Tensor]
Reference = Callable[[Any], Any]
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_pickle(
    file: BinaryIO,
    names: Mapping[str, Any],
    other_reference: Reference | None = None,
) -> tuple[Any, Fetch]:
    """Read what a file of ``torch.save`` describes; no tensor is made.

    Args:
        file: The file, open for reading.
        names: The names that it may use, see `PickleMachine`.
        other_reference: Resolves references of the pickle that are not to a
            storage. Defaults to refusing them.

    Returns:
        The object, with records in place of tensors, and a function that
        gives the bytes of a storage, uint8 ``(nbytes,)``. The size of every
        storage is the one that the file has room for.

    Raises:
        UnknownNameError: If a name is not among those it may use.
        ValueError: If the file is damaged or of another kind.
    """
    file.seek(0)
    is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    read = _read_zip if is_zip else _read_legacy
    return read(file, names, _Storages(other_reference))


class _Storages:
    """Resolves references to storages, and remembers them by key."""

    def __init__(self, other: Reference | None):
        self.records: dict[str, StorageRecord] = {}
        self._other = other

    def __call__(self, pid: Any) -> Any:
        if self._other and type(pid) is tuple and pid[:1] != ('storage',):
            return self._other(pid)
        record = storage_record(pid)
        known = self.records.setdefault(record.key, record)
        for this, other in (
            (known.dtype, record.dtype),
            (known.total, record.total),
            (known.location, record.location),
        ):
            if this != other:
                raise ValueError(
                    f'storage {printable(record.key)} is said to be both '
                    f'{printable(this)} and {printable(other)}'
                )
        return record

    def check(self, key: str, size: int) -> None:
        """Compare a storage's bytes with what the pickle says of it."""
        declared = self.records[key].nbytes
        if declared != size:
            raise ValueError(
                f'storage {printable(key)} has {size} bytes, but is said to '
                f'have {declared}'
            )


def _read_zip(
    file: BinaryIO, names: Mapping[str, Any], storages: _Storages
) -> tuple[Any, Fetch]:
    archive = Archive(file)
    content = archive.read('data.pkl').numpy().data
    obj = PickleMachine(content, names, storages).load()
    for key in storages.records:
        record = archive.records.get(f'data/{key}')
        if record is None:
            raise ValueError(f'storage {printable(key)} is missing')
        storages.check(key, record.size)
    return obj, lambda storage: archive.read(f'data/{storage.key}')


def _read_legacy(
    file: BinaryIO, names: Mapping[str, Any], storages: _Storages
) -> tuple[Any, Fetch]:
    file.seek(0)
    content = memoryview(file.read())
    position = 0

    def load(references: Reference) -> Any:
        nonlocal position
        machine = PickleMachine(content[position:], names, references)
        value = machine.load()
        position += machine.position
        return value

    if load(_no_reference) != _LEGACY_MAGIC:
        raise ValueError('a pickle that torch did not save')
    protocol, system = load(_no_reference), load(_no_reference)
    little = system.get('little_endian') if type(system) is dict else None
    if protocol != _LEGACY_PROTOCOL or little != (sys.byteorder == 'little'):
        raise ValueError('of another byte order or protocol than this machine')
    obj, keys = load(storages), load(_no_reference)
    if type(keys) is not list or sorted(map(str, keys)) != sorted(
        storages.records
    ):
        raise ValueError('its list of storages is not that of its tensors')
    places = {}
    for key in keys:
        numel = int.from_bytes(content[position : position + 8], 'little')
        storages.check(key, numel * storages.records[key].dtype.itemsize)
        start, size = position + 8, storages.records[key].nbytes
        position = start + size
        if position > len(content):
            raise ValueError(f'storage {printable(key)} ends early')
        places[key] = content[start:position]

    def fetch(storage: StorageRecord) -> Tensor:
        data = torch.empty(storage.nbytes, dtype=torch.uint8)
        data.numpy().data[:] = places[storage.key]
        return data

    return obj, fetch


def _no_reference(pid: Any) -> Any:
    raise ValueError('a reference to a storage out of place')
