# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Seed the random draws of a sample from (run seed, epoch, index).

The crop, the flip and the mask of a sample depend only on its identity. The
number of workers or processes, prefetching, restarts and stored tokens do not
change them.
"""

import struct
import zlib
from functools import lru_cache

import numpy as np

#: The stream that masks draw from. It depends on the epoch. All other streams
#: shape the view, and depend on the epoch (or slot) of the view.
MASK_STREAM = 'mask'

_STREAMS_KEY = '_rng_streams'
_WORD64 = (1 << 64) - 1
_WORD32 = (1 << 32) - 1


class SampleIndex(int):
    """An index into a dataset that remembers the identity of its sample.

    It is an ordinary ``int`` everywhere (indexing, comparison, JSON, logs).
    The arithmetic of mmengine's dataset wrappers (``-``, ``+``, ``%``) keeps
    the identity, and so does pickling for a worker process.

    Args:
        value: The index.
        identity: ``(seed, epoch, index)``: the run's seed, the pass over the
            data, and the index as the sampler drew it, i.e. before a wrapper
            such as ``ConcatDataset`` translated it.
        view_pool: Number of views of each image. The epochs use them in
            turn. 0 means a new view in each epoch.
        stands_in: Whether this index replaces one whose file is unreadable.
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
        """The identity of crop and flip: ``(seed, epoch or slot, index)``."""
        seed, epoch, index = self.identity
        return seed, epoch % self.view_pool if self.view_pool else epoch, index

    def at(self, value: int, stands_in: bool = False) -> 'SampleIndex':
        """Give another index the same identity.

        Args:
            value: The other index.
            stands_in: Whether the other index replaces this one.
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
    """Check the number of views in a pool.

    Args:
        view_pool: Views of each image. 0 means a new view in each epoch.

    Returns:
        The number.

    Raises:
        ValueError: If it is negative or not an integer.
    """
    if not isinstance(view_pool, int) or view_pool < 0:
        raise ValueError(
            'view_pool must be a positive number of views, or 0 for a new '
            f'view in each epoch, got {view_pool!r}'
        )
    return view_pool


@lru_cache(maxsize=256)
def _stream_number(stream: str) -> int:
    # hash() is no alternative: its values differ between processes.
    return zlib.crc32(stream.encode())


def identity_rng(
    identity: tuple[int, int, int], stream: str
) -> np.random.Generator:
    """Make a random generator for one sample and one purpose.

    Args:
        identity: ``(seed, epoch, index)``.
        stream: What the draws are for. Different names give independent
            draws.

    Returns:
        A generator that is the same in every process and on every platform.
    """
    seed, epoch, index = identity
    # Each field has a fixed width, so two identities never give equal words.
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
    """Return the random generator for one transform of one sample.

    Args:
        results: The dict that a pipeline passes from transform to transform.
            Its ``sample_idx`` is a :class:`SampleIndex` if a sampler of mmcae
            is in use. A second request for the same stream (a pipeline with
            two flips) gives other draws; the dict counts the requests.
        stream: What the draws are for, e.g. ``'crop'``.

    Returns:
        A generator seeded from the identity of the sample (``MASK_STREAM``)
        or of its view (all other streams). If the sample has no identity, the
        generator draws from NumPy's *global* state, so that
        ``np.random.seed`` makes the draws reproducible.
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
