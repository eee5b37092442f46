# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A file of the corpus, and what a reader may do with it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch


class Allowed(Enum):
    """What a reader may do with a file."""

    REFUSED = 'it must be refused'
    READ = 'it must be read, and give exactly the expected content'
    EITHER = 'it may be refused, or give exactly the expected content'
    HARMLESS = 'it may be refused, or give any content of its bytes'


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes:
        name: What is wrong with it, in words joined by underscores. The part
            before the slash is the group. Reading a file of the group
            ``large`` takes seconds.
        make: Its bytes, or a function that makes them.
        allowed: What a reader may do with it.
        wanted: The expected content, for `READ` and `EITHER`.
        suffix: The suffix of its file name.
    """

    name: str
    make: bytes | Callable[[], bytes]
    allowed: Allowed = Allowed.REFUSED
    wanted: Any = None
    suffix: str = '.pth'

    def content(self) -> bytes:
        """Return the bytes of the file."""
        return self.make if isinstance(self.make, bytes) else self.make()


# The values in most files of the corpus, if they were honest.
VALUES = (1.0, 2.0, 3.0, 4.0)


def weights(*values: float) -> dict:
    """Return the content of an honest file with one tensor."""
    return {'state_dict': {'w': torch.tensor(values or VALUES)}}


def refused(name: str, make: bytes | Callable, suffix: str = '.pth') -> Entry:
    """Describe a file that must be refused."""
    return Entry(name, make, suffix=suffix)


def read(name: str, make: bytes | Callable, wanted: Any = None) -> Entry:
    """Describe a file that must be read, by default as `weights`."""
    return Entry(name, make, Allowed.READ, wanted or weights())


def either(name: str, make: bytes | Callable, wanted: Any = None) -> Entry:
    """Describe a file that may be refused, or read as `weights`."""
    return Entry(name, make, Allowed.EITHER, wanted or weights())


def harmless(name: str, make: bytes | Callable, suffix: str = '.pth') -> Entry:
    """Describe a file that may be refused, or give any of its bytes."""
    return Entry(name, make, Allowed.HARMLESS, suffix=suffix)
