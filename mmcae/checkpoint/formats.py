# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From the two formats of ``torch.save`` to objects with tensor records.

The formats are a zip archive (since torch 1.6) and a sequence of pickles.
"""

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
    """Read the objects in a file of ``torch.save``, without making tensors.

    Args:
        file: The file, open for reading.
        names: The names that it may use, see `PickleMachine`.
        other_reference: Resolves references in the pickle to something else
            than a storage. By default they are errors.

    Returns:
        The object, with records in place of tensors, and a function that
        returns the bytes of a storage, uint8 ``(nbytes,)``. Every storage has
        been checked to have as many bytes in the file as the pickle says.

    Raises:
        UnknownNameError: If the file uses a name that is not in ``names``.
        ValueError: If the file is damaged or not of ``torch.save``.
    """
    file.seek(0)
    is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    read = _read_zip if is_zip else _read_legacy
    return read(file, names, _Storages(other_reference))


class _Storages:
    """Resolves references to storages, and keeps their records by key."""

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
                    f'storage {printable(record.key)} is described as both '
                    f'{printable(this)} and {printable(other)}'
                )
        return record

    def check(self, key: str, size: int) -> None:
        """Compare the bytes of a storage with its size in the pickle."""
        declared = self.records[key].nbytes
        if declared != size:
            raise ValueError(
                f'storage {printable(key)} has {size} bytes, but its '
                f'description says {declared}'
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
        raise ValueError('it is not a file of torch.save')
    protocol, system = load(_no_reference), load(_no_reference)
    little = system.get('little_endian') if type(system) is dict else None
    if protocol != _LEGACY_PROTOCOL or little != (sys.byteorder == 'little'):
        raise ValueError(
            'its byte order or protocol is not that of this machine'
        )
    obj, keys = load(storages), load(_no_reference)
    if type(keys) is not list or sorted(map(str, keys)) != sorted(
        storages.records
    ):
        raise ValueError(
            'its list of storages differs from the storages of its tensors'
        )
    parts = {}
    for key in keys:
        numel = int.from_bytes(content[position : position + 8], 'little')
        storages.check(key, numel * storages.records[key].dtype.itemsize)
        start, size = position + 8, storages.records[key].nbytes
        position = start + size
        if position > len(content):
            raise ValueError(f'storage {printable(key)} is truncated')
        parts[key] = content[start:position]

    def fetch(storage: StorageRecord) -> Tensor:
        data = torch.empty(storage.nbytes, dtype=torch.uint8)
        data.numpy().data[:] = parts[storage.key]
        return data

    return obj, fetch


def _no_reference(pid: Any) -> Any:
    raise ValueError('a reference to a storage in the wrong place')
