# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What can be wrong with a file of weights, from its bytes to its use."""

from mmcae.checkpoint.printable import printable


class UnsafeCheckpointError(ValueError):
    """The file needs code to be read; nothing in it was executed."""


class UnreadableCheckpointError(ValueError):
    """The file is truncated, damaged, or not a checkpoint."""


class UnknownNameError(ValueError):
    """A pickle uses a name that is not on the allow list.

    Args:
        name: The name in the pickle, such as ``posix.system``.
    """

    def __init__(self, name: str):
        super().__init__(f'the file names {printable(name)}')
        self.name = printable(name)


class CheckpointError(RuntimeError):
    """A run cannot save its checkpoints, or finds none to resume."""


class StartError(ValueError):
    """A file cannot start this pretraining; says why and what to change."""
