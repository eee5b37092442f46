# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The arguments of a pickle's opcodes: numbers, text and lines of bytes."""

import re
import struct
from typing import Any

from mmcae.checkpoint.limits import MAX_NAME, MAX_WIDE_TEXT

# The first byte of a UTF-8 character that Latin-1 does not have.
_BEYOND_LATIN_1 = re.compile(rb'[\xc4-\xff]')
_TOO_SHORT = 'the pickle is truncated'


class PickleBytes:
    """Reads the bytes of a pickle from front to back.

    Args:
        data: Bytes that begin with the pickle; more may follow.
    """

    def __init__(self, data: bytes | memoryview):
        self._data = memoryview(data)
        self._size = len(self._data)
        self._wide_text = 0
        self.position = 0

    def __len__(self) -> int:
        return self._size

    def opcode(self) -> int:
        """Read one byte."""
        position = self.position
        if position >= self._size:
            raise ValueError(_TOO_SHORT)
        self.position = position + 1
        return self._data[position]

    def _take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > self._size:
            raise ValueError(_TOO_SHORT)
        part = self._data[self.position : end]
        self.position = end
        return part

    def number(self, form: str) -> Any:
        """Read a number.

        Args:
            form: Its format, as for `struct`.
        """
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def sized(self, form: str) -> memoryview:
        """Read bytes whose length stands before them as a number."""
        return self._take(self.number(form))

    def long(self, form: str) -> int:
        """Read an integer of any length."""
        return int.from_bytes(self.sized(form), 'little', signed=True)

    def text(self, form: str) -> str:
        """Read text.

        Raises:
            ValueError: If the pickle has too much text beyond Latin-1.
        """
        part = self.sized(form)
        if _BEYOND_LATIN_1.search(part):
            self._wide_text += len(part)
            if self._wide_text > MAX_WIDE_TEXT:
                raise ValueError('too much text beyond Latin-1')
        return str(part, 'utf-8', 'surrogatepass')

    def line(self) -> str:
        """Read a name that ends with a newline."""
        part = bytes(self._data[self.position : self.position + MAX_NAME])
        end = part.find(b'\n')
        if end < 0:
            raise ValueError(f'a name of more than {MAX_NAME} characters')
        self.position += end + 1
        return part[:end].decode()
