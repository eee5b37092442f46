# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tensor records: checked against their storage before a tensor is made."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmcae.checkpoint.limits import MAX_DEPTH, MAX_EXPANDED
from mmcae.checkpoint.pickle_objects import Name
from mmcae.checkpoint.printable import printable

MapLocation = str | torch.device | dict | Callable | None
_MAX_INDEX = (1 << 63) - 1


@dataclass(frozen=True, eq=False)
class StorageRecord:
    """What a pickle says about a storage, or about a part of it.

    Attributes:
        dtype: The dtype of its elements.
        key: Its name in the file.
        location: The device it was on, such as ``'cuda:0'``.
        total: The number of elements in the file.
        offset: The first element of the part. It is 0, except in some files
            in the format before torch 1.6.
        numel: The number of elements of the part.
    """

    dtype: torch.dtype
    key: str
    location: str
    total: int
    offset: int
    numel: int

    @property
    def nbytes(self) -> int:
        """The size of the whole storage, in bytes."""
        return self.total * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """What a pickle says about a tensor.

    ``offset`` and ``stride`` count elements from the start of the storage.
    """

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool = False
    is_parameter: bool = False
    conjugated: bool = False
    negated: bool = False


def whole(value: Any, what: str) -> int:
    """Check that a value from a file is an integer that can be an index."""
    if type(value) is not int or not 0 <= value <= _MAX_INDEX:
        raise ValueError(f'{what} {printable(value, 40)}')
    return value


def storage_record(pid: Any) -> StorageRecord:
    """Check torch's reference to a storage.

    Args:
        pid: ``('storage', class, key, location, elements)``. In the older
            format, a view ``(key, offset, elements)`` or None follows.

    Raises:
        ValueError: If it is not such a reference.
    """
    if type(pid) is not tuple or len(pid) not in (5, 6):
        raise ValueError('a reference to something else than a storage')
    kind, cls, key, location, numel = pid[:5]
    if kind != 'storage' or not isinstance(cls, Name) or cls.dtype is None:
        raise ValueError('a reference to something else than a storage')
    if type(key) is not str or type(location) is not str:
        raise ValueError('a storage whose key or device is not text')
    total = whole(numel, 'a storage of size')
    view = pid[5] if len(pid) == 6 else None
    if view is None:
        return StorageRecord(cls.dtype, key, location, total, 0, total)
    if type(view) is not tuple or len(view) != 3:
        raise ValueError('a part of a storage without offset and size')
    offset = whole(view[1], 'a storage at')
    part = whole(view[2], 'a storage of size')
    if offset + part > total:
        raise ValueError(f'a part of storage {printable(key)} is outside it')
    return StorageRecord(cls.dtype, key, location, total, offset, part)


def tensor_record(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
    dtype: torch.dtype | None = None,
) -> TensorRecord:
    """Check the arguments from which torch would rebuild a tensor.

    The arguments are those of ``torch._utils._rebuild_tensor_v2``.

    Raises:
        ValueError: If the tensor does not lie inside its storage.
    """
    if not isinstance(storage, StorageRecord):
        raise ValueError('a tensor without a storage')
    if type(size) not in (tuple, torch.Size) or type(stride) is not tuple:
        raise ValueError('a tensor whose shape is not a tuple')
    if len(size) != len(stride) or len(size) > MAX_DEPTH:
        raise ValueError(f'{len(size)} sizes with {len(stride)} strides')
    offset = whole(offset, 'an offset of')
    size = tuple(whole(n, 'a size of') for n in size)
    stride = tuple(whole(n, 'a stride of') for n in stride)
    if hooks or type(hooks) not in (OrderedDict, dict, type(None)):
        raise ValueError('a tensor with hooks')
    flags = metadata if type(metadata) is dict else {}
    if metadata and set(flags) - {'conj', 'neg'}:
        raise ValueError('a tensor with unknown properties')
    dtype = dtype or storage.dtype
    room = storage.numel * storage.dtype.itemsize // dtype.itemsize
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if offset > room or (math.prod(size) and last >= room):
        raise ValueError(
            f'a tensor of shape {size} that leaves its storage of {room} '
            'elements'
        )
    repeated = math.prod(size) * dtype.itemsize
    if overlaps(size, stride) and repeated > MAX_EXPANDED:
        raise ValueError(
            f'a tensor of shape {size} that repeats the {room} elements of '
            'its storage'
        )
    return TensorRecord(
        storage, offset, size, stride, dtype, requires_grad is True,
        conjugated=bool(flags.get('conj')), negated=bool(flags.get('neg')),
    )  # fmt: skip


def overlaps(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether two elements of a tensor may share their memory."""
    if not math.prod(size):
        return False
    reach = 0
    for step, count in sorted(zip(stride, size, strict=True)):
        if count > 1 and step <= reach:
            return True
        reach += (count - 1) * step
    return False


class TensorMaker:
    """Makes tensors from records; tensors of one storage share its memory.

    Args:
        fetch: Returns the bytes of a storage, uint8 ``(nbytes,)``.
        map_location: The device of the tensors, as for ``torch.load``.
    """

    def __init__(
        self,
        fetch: Callable[[StorageRecord], Tensor],
        map_location: MapLocation,
    ):
        self._fetch = fetch
        self._map_location = map_location
        self._storages: dict[str, Any] = {}
        self._expanded = 0

    def __call__(self, record: TensorRecord) -> Tensor:
        """Make a tensor.

        Raises:
            ValueError: If the tensors repeat too many elements, or if the
                device does not exist here.
        """
        storage = record.storage
        if storage.key not in self._storages:
            self._storages[storage.key] = self._load(storage)
        start = storage.offset * storage.dtype.itemsize
        offset = record.offset + start // record.dtype.itemsize
        if start % record.dtype.itemsize:
            raise ValueError(
                'a tensor that does not begin at an element of its storage'
            )
        memory = self._storages[storage.key]
        made = torch.empty(0, dtype=record.dtype, device=memory.device)
        made.set_(memory, offset, record.size, record.stride)
        if overlaps(record.size, record.stride):
            self._expanded += math.prod(record.size) * record.dtype.itemsize
            if self._expanded > MAX_EXPANDED:
                raise ValueError('too many tensors that repeat elements')
            # A copy: writing one element must not change another one.
            made = made.contiguous().clone()
        if record.conjugated:
            made = made.conj()
        if record.negated:
            made = -made
        if record.is_parameter:
            return nn.Parameter(made, record.requires_grad)
        if record.requires_grad:
            made.requires_grad_()
        return made

    def _load(self, storage: StorageRecord) -> Any:
        data = self._fetch(storage)
        if storage.dtype == torch.bool and bool((data > 1).any()):
            raise ValueError(
                f'storage {printable(storage.key)} is not bool: it has '
                'other values than 0 and 1'
            )
        where, there = self._map_location, storage.location
        if callable(where):
            moved = where(data.untyped_storage(), there)
            if moved is not None:
                return moved.untyped() if hasattr(moved, 'untyped') else moved
            target: Any = there
        elif isinstance(where, Mapping):
            target = where.get(there, there)
        else:
            target = there if where is None else where
        if target is there and there.startswith('meta'):
            raise ValueError(
                'its tensors are on the meta device, which stores no values'
            )
        try:
            return data.to(target).untyped_storage()
        except (RuntimeError, AssertionError, NotImplementedError):
            raise ValueError(
                f'its tensors belong on {printable(str(target))}, which this '
                "machine does not have: read it with map_location='cpu'"
            ) from None
