# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The state of a process's random generators, as plain tensors."""

import ctypes
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch

from mmcae.checkpoint.plain_values import ResumeError

_WORDS = 624  # of the Mersenne Twister's state

State = dict[str, torch.Tensor]


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
    address = module.get_bit_generator().ctypes.state_address
    return ctypes.string_at(address, 4 * _WORDS + 4)


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
        self._python = random.getstate()
        self._numpy = _NumpyState()
        self._torch = torch.get_rng_state()
        self._cuda = (
            torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        )

    def tensors(self) -> State:
        """Return them as tensors, which readers of checkpoints accept."""
        version, python, _ = self._python
        keys, position = self._numpy.words()
        states = {
            'python': torch.tensor([version, *python]),
            'numpy': torch.tensor([*keys.tolist(), position]),
            'torch': self._torch,
        }
        if self._cuda is not None:
            states['cuda'] = self._cuda
        return states


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
