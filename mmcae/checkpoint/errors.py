# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What is raised for a file that is not read."""

from mmcae.checkpoint.printable import printable


class UnsafeCheckpointError(ValueError):
    """A file asks for more than data; nothing in it was executed."""


class UnreadableCheckpointError(ValueError):
    """A file is truncated, damaged, or no checkpoint at all."""


class UnknownNameError(ValueError):
    """A pickle names something that is not on the reader's list.

    Args:
        name: What it names, such as ``posix.system``.
    """

    def __init__(self, name: str):
        super().__init__(f'the file names {printable(name)}')
        self.name = printable(name)


class CheckpointError(RuntimeError):
    """A run cannot save its checkpoints, or finds none to resume."""
