# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One file of the corpus, and what a reader may do with it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch


class Allowed(Enum):
    """What may become of a file; in no case more than this."""

    REFUSED = 'it must be refused'
    READ = 'it must be read, with exactly the content that is expected'
    EITHER = 'it may be refused, or read with exactly that content'
    HARMLESS = 'it may be refused, or read as bytes that it has'


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes:
        name: What is wrong with it, in words joined by underscores; the
            part before the slash is the group. Those of the group
            ``large`` take a reader seconds.
        make: Its bytes, or a function that makes them.
        allowed: What may become of it.
        wanted: The expected content, for `READ` and `EITHER`.
        suffix: The ending of its name.
    """

    name: str
    make: bytes | Callable[[], bytes]
    allowed: Allowed = Allowed.REFUSED
    wanted: Any = None
    suffix: str = '.pth'

    def content(self) -> bytes:
        """Give the file's bytes."""
        return self.make if isinstance(self.make, bytes) else self.make()


# What most files of the corpus would hold, were they honest.
VALUES = (1.0, 2.0, 3.0, 4.0)


def weights(*values: float) -> dict:
    """Give the content of an honest file of one tensor."""
    return {'state_dict': {'w': torch.tensor(values or VALUES)}}


def refused(name: str, make: bytes | Callable, suffix: str = '.pth') -> Entry:
    """Describe a file that must be refused."""
    return Entry(name, make, suffix=suffix)


def read(name: str, make: bytes | Callable, wanted: Any = None) -> Entry:
    """Describe a file that must be read; by default, as `weights`."""
    return Entry(name, make, Allowed.READ, wanted or weights())


def either(name: str, make: bytes | Callable, wanted: Any = None) -> Entry:
    """Describe a file that may be refused, or read as `weights`."""
    return Entry(name, make, Allowed.EITHER, wanted or weights())


def harmless(name: str, make: bytes | Callable, suffix: str = '.pth') -> Entry:
    """Describe a file whose content is the reader's choice."""
    return Entry(name, make, Allowed.HARMLESS, suffix=suffix)
