# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files to test a reader with: hostile, malformed and honest ones.

Every file is made without the reader: zip files with `struct`, pickles opcode
by opcode. An `Entry` has the bytes of a file, and says what a reader may do
with it.
"""

from pathlib import Path

from .archives import archives
from .arrays import arrays, histories
from .code import code
from .entry import Allowed, Entry
from .honest import honest, module_pickles
from .legacy import legacy_files
from .machine import machine
from .other_files import other_files
from .safetensors_files import safetensors_files
from .tensors import storages, tensors

__all__ = [
    'Allowed',
    'Entry',
    'honest_files',
    'hostile_files',
    'malformed_files',
    'module_pickles',
]


def hostile_files(sentinel: Path) -> list[Entry]:
    """Make the files that run code in a reader without restrictions.

    Args:
        sentinel: A file that most of them create when they run.
    """
    return list(code(sentinel))


def malformed_files() -> list[Entry]:
    """Make the files whose structure contradicts itself."""
    parts = (
        archives, storages, tensors, machine, arrays, histories, legacy_files,
        safetensors_files, other_files,
    )  # fmt: skip
    return [entry for part in parts for entry in part()]


def honest_files() -> list[Entry]:
    """Make the files that a reader must read."""
    return list(honest())
