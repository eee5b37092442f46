# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Seed the random draws of a sample from (run seed, epoch, index).

Crop, flip and mask of a sample are functions of its identity alone, so the
number of workers or processes, prefetching and restarts cannot change them,
and neither can tokens that were stored before.
"""

import struct
import zlib
from functools import lru_cache

import numpy as np

#: The stream that masks draw from. It follows the epoch; all other streams
#: shape the view and follow the view's epoch.
MASK_STREAM = 'mask'

_STREAMS_KEY = '_rng_streams'
_WORD64 = (1 << 64) - 1
_WORD32 = (1 << 32) - 1


class SampleIndex(int):
    """An index into a data set that remembers which sample it stands for.

    It is an ordinary ``int`` everywhere (indexing, comparison, JSON, logs).
    What the wrappers of mmengine do to an index (``-``, ``+``, ``%``) and
    the journey to a worker process keep the identity.

    Args:
        value: The index.
        identity: ``(seed, epoch, index)``: the run's seed, the pass over the
            data, and the index as the sampler drew it, i.e. before a wrapper
            such as ``ConcatDataset`` translated it.
        view_pool: Number of views of each image, which the epochs take in
            turn; 0 for a new one in each epoch.
        stands_in: Whether it replaces an index whose file is unreadable.
    """

    identity: tuple[int, int, int]
    view_pool: int
    stands_in: bool

    def __new__(
        cls,
        value: int,
        identity: tuple[int, int, int],
        view_pool: int = 0,
        stands_in: bool = False,
    ) -> 'SampleIndex':
        """Attach the identity to the number."""
        self = super().__new__(cls, value)
        self.identity = identity
        self.view_pool = view_pool
        self.stands_in = stands_in
        return self

    @property
    def view(self) -> tuple[int, int, int]:
        """What its crop and flip follow: ``(seed, epoch or slot, index)``."""
        seed, epoch, index = self.identity
        return seed, epoch % self.view_pool if self.view_pool else epoch, index

    def at(self, value: int, stands_in: bool = False) -> 'SampleIndex':
        """Give another index the same identity.

        Args:
            value: The other index.
            stands_in: Whether it replaces this one.
        """
        return SampleIndex(
            value, self.identity, self.view_pool, self.stands_in or stands_in
        )

    def __reduce__(self) -> tuple:
        return SampleIndex, (
            int(self),
            self.identity,
            self.view_pool,
            self.stands_in,
        )

    def __add__(self, other: int) -> int:
        return self.at(int(self) + other)

    __radd__ = __add__

    def __sub__(self, other: int) -> int:
        return self.at(int(self) - other)

    def __mod__(self, other: int) -> int:
        return self.at(int(self) % other)


def check_view_pool(view_pool: int) -> int:
    """Refuse a pool of views that is neither absent nor of some size.

    Args:
        view_pool: Views of each image; 0 for a new one in each epoch.

    Returns:
        The number.

    Raises:
        ValueError: If it is not a whole number from 0 on.
    """
    if not isinstance(view_pool, int) or view_pool < 0:
        raise ValueError(
            f'view_pool must be a number of views from 1 on, or 0 for a new '
            f'view in each epoch, got {view_pool!r}'
        )
    return view_pool


@lru_cache(maxsize=256)
def _stream_number(stream: str) -> int:
    # not hash(): that one differs from process to process
    return zlib.crc32(stream.encode())


def identity_rng(
    identity: tuple[int, int, int], stream: str
) -> np.random.Generator:
    """Make the generator of one sample's draws for one purpose.

    Args:
        identity: ``(seed, epoch, index)``.
        stream: What the draws are for. Different names give independent
            draws.

    Returns:
        A generator that is the same in every process and on every platform.
    """
    seed, epoch, index = identity
    # fixed width per field: no two identities share the words
    words = struct.pack(
        '<QIQI',
        seed & _WORD64,
        epoch & _WORD32,
        index & _WORD64,
        _stream_number(stream),
    )
    entropy = np.frombuffer(words, dtype='<u4')
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(entropy))  # type: ignore[arg-type]
    )


def sample_rng(results: dict, stream: str) -> np.random.Generator:
    """Give the generator that a transform draws this sample's numbers from.

    Args:
        results: The dict that travels through a pipeline. Its
            ``sample_idx`` is a :class:`SampleIndex` when a sampler of mmcae
            is in use. A second request for the same stream on the same dict
            (a pipeline with two flips) gets draws of its own; that use is
            counted in the dict.
        stream: What the draws are for, e.g. ``'crop'``.

    Returns:
        A generator seeded from the sample's identity (``MASK_STREAM``) or
        from its view's (all other streams). Without an identity,
        one that draws from NumPy's *global* state, so that
        ``np.random.seed`` makes calls on a bare dict reproducible.
    """
    index = results.get('sample_idx')
    if not isinstance(index, SampleIndex):
        return np.random.Generator(
            np.random.get_bit_generator()  # type: ignore[attr-defined]
        )
    uses = results.setdefault(_STREAMS_KEY, {})
    count = uses.get(stream, 0)
    uses[stream] = count + 1
    return identity_rng(
        index.identity if stream == MASK_STREAM else index.view,
        f'{stream}#{count}' if count else stream,
    )
