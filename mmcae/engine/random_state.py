# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The state of a process's random generators, as plain tensors."""

import ctypes
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch

from mmcae.checkpoint.plain_values import ResumeError

_WORDS = 624  # of the Mersenne Twister's state

State = dict[str, torch.Tensor]


class _PythonState:
    """The state of Python's global generator, copied in a microsecond.

    ``random.getstate`` makes an object of each of the 625 numbers, and an
    iteration would wait for that. CPython keeps them in one piece behind the
    head of the generator. Where they are not there, `getstate` is called.
    """

    def __init__(self) -> None:
        self._bytes = _python_bytes() if _has_known_python() else None
        self._state = None if self._bytes else random.getstate()

    def numbers(self) -> list[int]:
        """The version of the format, the 624 words and the position."""
        if self._bytes is None:
            assert self._state is not None
            version, state, _ = self._state
            return [version, *state]
        return _split_python(self._bytes)


def _python_bytes() -> bytes:
    generator: Any = random
    # The head of an object has two pointers; the position comes first.
    address = id(generator._inst) + 2 * ctypes.sizeof(ctypes.c_void_p)
    return ctypes.string_at(address, 4 * _WORDS + 4)


def _split_python(content: bytes) -> list[int]:
    position, *words = np.frombuffer(content, np.uint32).tolist()
    return [random.Random.VERSION, *words, position]


@cache
def _has_known_python() -> bool:
    """Whether the bytes of the generator are what `getstate` says."""
    instance: Any = getattr(random, '_inst', None)
    if sys.implementation.name != 'cpython' or type(instance) is not (
        random.Random
    ):
        return False
    head = 2 * ctypes.sizeof(ctypes.c_void_p)
    if random.Random.__basicsize__ < head + 4 * _WORDS + 4:
        return False  # the bytes would not be the generator's own
    version, expected, _ = random.getstate()
    return _split_python(_python_bytes()) == [version, *expected]


class _NumpyState:
    """The state of NumPy's global generator, copied in a microsecond.

    ``np.random.get_state`` copies number by number, which takes as long as
    all else that a training step needs to remember. The bytes of the
    generator are at an address that its ``ctypes`` interface tells: 624 words
    and a position. If a NumPy orders them otherwise, `get_state` is called.
    """

    def __init__(self) -> None:
        self._bytes = None
        if _is_twister() and _has_known_layout():
            self._bytes = _numpy_bytes()
        self._state: Any = None
        if self._bytes is None:
            self._state = np.random.get_state(legacy=True)

    def words(self) -> tuple[np.ndarray, int]:
        """The 624 words and the position."""
        if self._bytes is None:
            _, keys, position, *_ = self._state
            return keys, position
        return _split(self._bytes)


def _is_twister() -> bool:
    module: Any = np.random
    generator = getattr(module, 'get_bit_generator', lambda: None)()
    return type(generator) is np.random.MT19937


def _numpy_bytes() -> bytes:
    module: Any = np.random
    address = _address_of(module.get_bit_generator())
    return ctypes.string_at(address, 4 * _WORDS + 4)


@lru_cache(maxsize=2)
def _address_of(generator: Any) -> int:
    """Where a generator of NumPy, which the cache keeps alive, has its state.

    The question takes longer than the copy.
    """
    return generator.ctypes.state_address


def _split(content: bytes) -> tuple[np.ndarray, int]:
    words = np.frombuffer(content, np.uint32)
    return words[:_WORDS], int(words[_WORDS])


@cache
def _has_known_layout() -> bool:
    """Whether the bytes of the generator are what `get_state` says."""
    try:
        keys, position = _split(_numpy_bytes())
    except AttributeError:  # an older or a newer NumPy
        return False
    _, expected, there, *_ = np.random.get_state(legacy=True)
    return bool(np.array_equal(keys, expected) and position == there)


class RandomMoment:
    """The states of all generators of this process, as they are now.

    Making tensors of them takes a millisecond, and is left until they are
    needed. A GPU is not waited for: its generator's state is on the host.
    """

    def __init__(self) -> None:
        self._python = _PythonState()
        self._numpy = _NumpyState()
        self._torch = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if _has_cuda() else None

    def tensors(self) -> State:
        """Return them as tensors, which readers of checkpoints accept."""
        keys, position = self._numpy.words()
        states = {
            'python': torch.tensor(self._python.numbers()),
            'numpy': torch.tensor([*keys.tolist(), position]),
            'torch': self._torch,
        }
        if self._cuda is not None:
            states['cuda'] = self._cuda
        return states


@cache
def _has_cuda() -> bool:
    """Whether there is a GPU, asked once: the question is not free."""
    return torch.cuda.is_available()


def get_random_state() -> State:
    """Return the states of Python's, NumPy's and PyTorch's generators.

    Returns:
        Tensors, which every reader of checkpoints accepts.
    """
    return RandomMoment().tensors()


def set_random_state(state: State) -> None:
    """Restore what :func:`get_random_state` returned.

    A state without a GPU's generator leaves that generator as it is.

    Args:
        state: The tensors.
    """
    version, *python = state['python'].tolist()
    random.setstate((version, tuple(python), None))
    *keys, position = state['numpy'].tolist()
    keys_array = np.array(keys, dtype=np.uint32)
    np.random.set_state(('MT19937', keys_array, position, 0, 0.0))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def check_random_state(state: Any) -> State:
    """Check a state that comes from a file.

    Args:
        state: What the file holds.

    Returns:
        The same, of the right layout.

    Raises:
        ResumeError: If a generator of this process could not take it.
    """
    here = get_random_state()
    if not isinstance(state, dict) or not all(
        isinstance(state.get(name), torch.Tensor)
        and state[name].dtype == value.dtype
        and state[name].shape == value.shape
        for name, value in here.items()
        if name in state or name != 'cuda'
    ):
        raise ResumeError('its random states are not those of generators')
    with preserved_random_state():
        try:
            set_random_state(state)
        except (ValueError, RuntimeError, OverflowError) as error:
            raise ResumeError(
                f'its random states are refused: {error}'
            ) from None
    return state


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the generators at the end of a block."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
