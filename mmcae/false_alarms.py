# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Imports of OpenMMLab's packages without their false alarms."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from mmengine.logging import MMLogger

import mmcae.namespace_guard  # noqa: F401

#: What OpenMMLab's packages print when they are imported. Nothing is wrong:
#: CAE needs neither OneDL's datasets nor mmcv's compiled operators, and where
#: an operator is needed, the launcher says so.
_FALSE_ALARMS = (
    'Could not import OneDL',
    'Fail to import ``MultiScaleDeformableAttention``',
    'This model cannot work without CUDA',
    'Line NMS is not compiled',
    'To make sure that the package is compiled with CUDA support',
)

#: Starts of warnings that mmengine logs about its own calls.
LOGGED_ALARMS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


@contextmanager
def without_false_alarms() -> Iterator[None]:
    """Within the context, imports print none of the known false alarms."""
    for text in _FALSE_ALARMS:
        warnings.filterwarnings('ignore', message=f'.*{text}')
    stdout, sieve = sys.stdout, _Sieve(sys.stdout)
    try:
        with redirect_stdout(sieve):  # type: ignore[type-var]
            yield
    finally:
        sieve.close()
        # One of the messages creates mmengine's default logger.
        if MMLogger.check_instance_created('mmengine'):
            for handler in MMLogger.get_instance('mmengine').handlers:
                if getattr(handler, 'stream', None) is sieve:
                    handler.setStream(stdout)  # type: ignore[attr-defined]


class _Sieve:
    """A stream that drops lines with a false alarm."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ''

    def write(self, text: str) -> int:
        self._line += text
        *lines, self._line = self._line.split('\n')
        for line in lines:
            if not any(alarm in line for alarm in _FALSE_ALARMS):
                self._stream.write(f'{line}\n')
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Write what has no end of line."""
        self._stream.write(self._line)
        self._line = ''

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
