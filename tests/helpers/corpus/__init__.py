# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files to try a reader with: hostile, damaged and honest ones.

Every file is made from its description, independently of the reader: zip
files by `struct`, pickles opcode by opcode. An `Entry` says what may become
of it.
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
    """Files that run code where they are let.

    Args:
        sentinel: A file that most of them make when they run.
    """
    return list(code(sentinel))


def malformed_files() -> list[Entry]:
    """Files whose structure is not what it says."""
    parts = (
        archives, storages, tensors, machine, arrays, histories, legacy_files,
        safetensors_files, other_files,
    )  # fmt: skip
    return [entry for part in parts for entry in part()]


def honest_files() -> list[Entry]:
    """Files that a reader must read."""
    return list(honest())
