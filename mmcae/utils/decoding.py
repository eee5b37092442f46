# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The former home of what is now in :mod:`mmcae.checkpoint`."""

from mmcae.checkpoint.decoding import decode_checkpoint
from mmcae.checkpoint.errors import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.tensors import MapLocation

__all__ = [
    'MapLocation',
    'UnreadableCheckpointError',
    'UnsafeCheckpointError',
    'decode_checkpoint',
]
