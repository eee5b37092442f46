# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Judge whether a reader handled a file as it should."""

import argparse
import codecs
import collections
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmcae.checkpoint.errors import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)

from .corpus.entry import Allowed, Entry
from .isolation import SECONDS, Outcome, Peak, run_isolated

# Bytes of memory that a reader may use beyond twice the size of the file.
ROOM = 200 << 20
# `fill_memory` fills freed memory with it, and no file contains it.
MARK = bytes.fromhex('c5a1f00dfeedbeefc5a1f00d0ddba115')
_DATA = (
    type(None), bool, int, float, complex, str, bytes, bytearray, slice,
    torch.Size, torch.dtype, torch.device, PurePath, np.generic, np.dtype,
)  # fmt: skip
# Audit events of code that is executed, and of disk and network access.
_WATCHED = (
    'os.', 'subprocess.', 'shutil.', 'socket.', 'ctypes.dlopen', 'exec',
    'compile', 'import', 'open', 'tempfile.', 'glob.', 'urllib.', 'ftplib.',
    'webbrowser.', 'code.__new__', 'function.__new__', 'marshal.', 'pty.',
)  # fmt: skip
_HARMLESS = ('os.listdir', 'os.scandir')
_events: list[str] | None = None
_installed = False


def _watch(event: str, arguments: tuple) -> None:
    if _events is None or not event.startswith(_WATCHED):
        return
    if event == 'open' and not _writes(arguments):
        return
    if event not in _HARMLESS:
        _events.append(f'{event} {arguments!r:.200}')


def _writes(arguments: tuple) -> bool:
    return isinstance(arguments[1], str) and bool(
        set(arguments[1]) & set('wax+')
    )


def warm_up() -> None:
    """Call functions that import modules when they are first used."""
    for codec in ('latin1', 'utf-8', 'ascii', 'cp437', 'unicode_escape'):
        codecs.lookup(codec)
    repr(torch.ones(1))
    str(torch.zeros(1, dtype=torch.complex64))


class Watched:
    """A context in which an audit hook lists the events of running code."""

    def __enter__(self) -> list[str]:
        global _events, _installed
        if not _installed:
            sys.addaudithook(_watch)
            _installed = True
        _events = []
        return _events

    def __exit__(self, *_: object) -> None:
        global _events
        _events = None


def fill_memory() -> None:
    """Fill memory with `MARK`, and free it.

    A reader that returns uninitialized memory then returns `MARK`.
    """
    for size in (64, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 19):
        count = max(2, min(50, (1 << 19) // size))
        pattern = torch.frombuffer(
            bytearray(MARK * (size // len(MARK))), dtype=torch.uint8
        )
        blocks = [pattern.clone() for _ in range(count)]
        raw = [bytearray(MARK * (size // len(MARK))) for _ in range(count)]
        del blocks, raw


def parts(value: Any) -> Iterator[Any]:
    """Yield every value inside another one, at any depth, once."""
    seen, left = set(), [value]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, dict):
            # A hostile file may have replaced the method `items`.
            left += [*dict.keys(one), *dict.values(one)]
            left += list(getattr(one, '__dict__', {}).values())
        elif isinstance(one, list | tuple | set | frozenset):
            left += list(one)
        elif isinstance(one, argparse.Namespace):
            left += list(vars(one).values())
        elif isinstance(one, HistoryBuffer):
            left += [one._log_history, one._count_history]


def foreign(value: Any, content: bytes) -> str:
    """Find the first value that does not come from the bytes of a file.

    Args:
        value: What a reader returned.
        content: The bytes of the file.

    Returns:
        A description of the value; empty if there is none.
    """
    for one in parts(value):
        if isinstance(one, torch.Tensor):
            fault = _foreign_tensor(one, content)
        elif isinstance(one, np.ndarray):
            fault = _foreign_array(one, content)
        elif isinstance(one, HistoryBuffer):
            fault = ''
        elif isinstance(one, collections.OrderedDict):
            fault = ', '.join(vars(one).keys() - {'_metadata'})
        elif isinstance(one, argparse.Namespace):
            fault = '' if type(one) is argparse.Namespace else 'a subclass'
        elif type(one) in (
            dict, list, tuple, set, frozenset, collections.Counter
        ):  # fmt: skip
            fault = ''
        else:
            fault = '' if isinstance(one, _DATA) else f'a {type(one)}'
        if fault:
            return fault
    return ''


def _foreign_tensor(tensor: torch.Tensor, content: bytes) -> str:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return f'a tensor of {type(tensor)}'
    if tensor.layout != torch.strided or tensor.device.type != 'cpu':
        return f'a tensor of {tensor.layout} on {tensor.device}'
    if tensor._backward_hooks:
        return 'a tensor with hooks'
    if not tensor.numel():
        return ''
    storage = tensor.untyped_storage()
    if tensor.numel() * tensor.itemsize > ROOM + len(content):
        return f'a tensor of {tensor.numel()} numbers of {len(content)} bytes'
    flat = torch.empty(0, dtype=torch.uint8).set_(storage)
    data = flat.numpy().tobytes()
    if _in(data, content, tensor.dtype.itemsize):
        return ''
    # A reader may copy a tensor that repeats elements.
    if len(data) == tensor.numel() * tensor.itemsize and tensor.itemsize > 2:
        return _foreign_elements(tensor, content)
    return f'{len(data)} bytes that the file does not have'


def _foreign_elements(tensor: torch.Tensor, content: bytes) -> str:
    """Look for each element separately, because some are repeated."""
    size = tensor.dtype.itemsize
    rows = tensor.detach().contiguous().view(-1).view(torch.uint8)
    for row in np.unique(rows.numpy().reshape(-1, size), axis=0):
        if not _in(row.tobytes(), content, size):
            return f'{size} bytes that the file does not have'
    return ''


def _in(data: bytes, content: bytes, size: int) -> bool:
    if data in content:
        return True
    if size > 1 and len(data) % size == 0:
        turned = np.frombuffer(data, np.uint8).reshape(-1, size)[:, ::-1]
        return turned.tobytes() in content
    return False


def _foreign_array(array: np.ndarray, content: bytes) -> str:
    if type(array) is not np.ndarray or array.dtype.hasobject:
        return f'an array of {array.dtype}'
    if not array.size:
        return ''
    for order in 'CF':
        data = array.tobytes(order)
        # Pickle protocol 2 stores bytes as text.
        encoded = data.decode('latin1').encode()
        if _in(data, content, array.dtype.itemsize) or encoded in content:
            return ''
    return f'an array of {array.nbytes} bytes that the file does not have'


def same(one: Any, other: Any) -> bool:
    """Whether two values have the same type and the same bits."""
    if isinstance(other, torch.Tensor):
        return _same_tensor(one, other)
    if isinstance(other, np.ndarray):
        return (
            type(one) is np.ndarray
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(other, HistoryBuffer):
        return type(one) is HistoryBuffer and all(
            same(getattr(one, key), getattr(other, key))
            for key in ('max_length', '_log_history', '_count_history')
        )
    if isinstance(other, PurePath):
        return isinstance(one, PurePath) and str(one) == str(other)
    if type(one) is not type(other):
        return False
    if isinstance(other, dict):
        return (
            one.keys() == other.keys()
            and all(same(one[key], other[key]) for key in other)
            and getattr(one, '__dict__', {}) == getattr(other, '__dict__', {})
        )
    if isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, argparse.Namespace):
        return same(vars(one), vars(other))
    return one == other


def _same_tensor(one: Any, other: torch.Tensor) -> bool:
    if not isinstance(one, torch.Tensor) or type(one) is not type(other):
        return False
    about = [(t.dtype, t.shape, t.requires_grad) for t in (one, other)]
    if about[0] != about[1]:
        return False
    flat = [t.detach().contiguous().flatten() for t in (one, other)]
    if not other.numel():
        return True
    return torch.equal(*(t.view(torch.uint8) for t in flat))


# --- the verdict -----------------------------------------------------------

Reader = Callable[[bytes, str], Any]


def judged(
    entries: list[Entry],
    reader: Reader,
    sentinel: Path,
    batch: int = 100,
    seconds: float = SECONDS,
    folder: Path | None = None,
    fates: collections.Counter | None = None,
) -> dict[str, str]:
    """Read files in isolated processes, and judge each outcome.

    Args:
        entries: The files.
        reader: Reads a file, given its bytes and its name.
        sentinel: A file that hostile files create.
        batch: The number of files for one process.
        seconds: The processor time that a file may take.
        folder: If given, each file is written there first, and its name is
            its path. Writing to this folder does not count as running code.
        fates: Counts the outcomes of all files.

    Returns:
        The fault of each file that has one, by name.
    """

    def work(entry: Entry) -> dict[str, Any]:
        return _read(entry, reader, sentinel, folder)

    warm_up()
    outcomes = run_isolated(entries, work, batch, seconds)
    found = {}
    for entry, outcome in zip(entries, outcomes, strict=True):
        fault = _verdict(entry, outcome, seconds)
        if fault:
            found[entry.name] = fault
        if fates is not None:
            refused = outcome.result and outcome.result['error']
            fates['a fault' if fault else refused or 'read'] += 1
    return found


def _read(
    entry: Entry, reader: Reader, sentinel: Path, folder: Path | None
) -> dict[str, Any]:
    content = entry.content()
    name = f'corpus_file{entry.suffix}'
    if folder is not None:
        (folder / name).write_bytes(content)
        name = str(folder / name)
    found: dict[str, Any] = dict(size=len(content), error='', fault='')
    fill_memory()
    peak, begun = Peak(), time.process_time()
    with Watched() as events:
        try:
            value = reader(content, name)
        except ValueError as error:
            found['error'] = type(error).__name__
            found['fault'] = message_fault(str(error), name)
        except BaseException as error:
            found['error'] = found['fault'] = (
                f'a raw {type(error).__name__}: {str(error)[:200]}'
            )
        found['seconds'] = time.process_time() - begun
        found['memory'] = peak.rise()
    if folder is not None:
        events = [event for event in events if str(folder) not in event]
    if events or sentinel.exists():
        found['fault'] = f'it ran something: {events[:3] or sentinel}'
        remove(sentinel)
    if not found['error']:
        fault = foreign(value, content)
        if fault:
            found['fault'] = f'it gave {fault}'
        elif entry.allowed in (Allowed.READ, Allowed.EITHER) and not same(
            value, entry.wanted
        ):
            found['fault'] = f'it gave something else: {value!r:.200}'
    return found


def remove(sentinel: Path) -> None:
    """Remove the file or the folder that a hostile file created."""
    if sentinel.is_dir():
        sentinel.rmdir()
    sentinel.unlink(missing_ok=True)


def message_fault(message: str, name: str) -> str:
    """Say what is wrong with an error message; empty if it is fine."""
    shown = ascii(message[:300])
    if name not in message:
        return f'the message does not name the file: {shown}'
    if not message.isprintable():
        return f'the message has control characters: {shown}'
    if len(message) > 1000:
        return f'the message has {len(message)} characters: {shown}'
    return ''


_REFUSALS = (
    UnsafeCheckpointError.__name__,
    UnreadableCheckpointError.__name__,
)


def _verdict(entry: Entry, outcome: Outcome, seconds: float) -> str:
    if outcome.fault:
        return outcome.fault
    found = outcome.result
    if found['seconds'] > seconds:
        return f'a hang (over {seconds:g} s)'
    room = 2 * found['size'] + ROOM
    if found['memory'] > room:
        return f'{found["memory"] >> 20} MiB for {found["size"]} bytes'
    if found['fault']:
        return found['fault']
    if found['error']:
        if found['error'] not in _REFUSALS:
            return f'it raised {found["error"]}'
        if entry.allowed is Allowed.READ:
            return 'it was refused'
    elif entry.allowed is Allowed.REFUSED:
        return 'it was read'
    return ''
