# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the pickle machine may create: allowed names, and stand-ins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmcae.checkpoint.printable import printable


@dataclass(frozen=True, eq=False)
class Name:
    """A name that a pickle may use, and what the reader uses instead.

    Attributes:
        name: Module and name, such as ``collections.OrderedDict``.
        call: Called in place of it; None if a pickle may not call it.
        new: Makes an empty object of it; None if a pickle may not do so.
        dtype: The dtype of the elements, if it is a class of storages.
    """

    name: str
    call: Callable[..., Any] | None = None
    new: Callable[[], Any] | None = None
    dtype: Any = None


class Stateful:
    """A stand-in for an object whose state a pickle may set.

    ``len()`` is the number of bytes that the state was copied to.
    """

    __slots__ = ()

    def __len__(self) -> int:
        return 0

    def set_state(self, state: Any) -> None:
        """Check the state and keep it."""
        raise NotImplementedError


def kind_of(value: Any) -> str:
    """Describe an object for a message: its name in the file, or its type."""
    if isinstance(value, Name):
        return printable(value.name)
    return f'a {type(value).__name__}'
