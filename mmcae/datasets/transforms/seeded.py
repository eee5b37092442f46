# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Seed the transforms of other libraries by the identity of the sample."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmcae.datasets.sample_seed import SampleIndex, sample_rng
from mmcae.registry import TRANSFORMS

from .target_view import describe_in_order

# Replaces NumPy's global generator. It is reused: creating one takes 0.1 ms.
_spare = np.random.MT19937(0)


@contextmanager
def keep_global_rngs() -> Iterator[None]:
    """Restore the global random generators at the end of the block.

    These are the generators of NumPy, ``random`` and PyTorch (CPU). NumPy's
    generator is replaced inside the block, because copying its state takes far
    longer. NumPy draws normal numbers in pairs and keeps the second one for
    the next call; that number is lost.
    """
    numpy_rng = np.random.get_bit_generator()  # type: ignore[attr-defined]
    np.random.set_bit_generator(_spare)  # type: ignore[attr-defined]
    python_state = random.getstate()
    torch_state = torch.default_generator.get_state()
    try:
        yield
    finally:
        np.random.set_bit_generator(numpy_rng)  # type: ignore[attr-defined]
        random.setstate(python_state)
        torch.default_generator.set_state(torch_state)


def seed_global_rngs(seed: int) -> None:
    """Seed the global generators, inside :func:`keep_global_rngs`.

    Args:
        seed: Non-negative, below 2 ** 63.
    """
    np.random.seed([seed >> 32, seed & 0xFFFFFFFF])
    random.seed(seed)
    # torch.manual_seed would also seed the GPUs, which is slow.
    torch.default_generator.manual_seed(seed)


@TRANSFORMS.register_module()
class Seeded(BaseTransform):
    """Make transforms that draw from global generators deterministic.

    Before each transform the global generators of NumPy, ``random`` and
    PyTorch (CPU) are seeded from (run seed, epoch, index) and the name of the
    class of the transform. At the end their old state is restored. So the
    draws do not depend on workers, processes, restarts or other transforms.
    Transforms of mmcae do not need this wrapper.

    If the sample has no identity (see :func:`~mmcae.datasets.sample_rng`), the
    global generators are not seeded.

    Args:
        transforms: The transforms or their configs, in order.
    """

    def __init__(self, transforms: Sequence[dict | BaseTransform]) -> None:
        self.transforms = [
            TRANSFORMS.build(item) if isinstance(item, dict) else item
            for item in transforms
        ]

    def transform(self, results: dict) -> dict | None:
        """Apply the transforms until one of them returns None."""
        seeded = isinstance(results.get('sample_idx'), SampleIndex)
        with keep_global_rngs() if seeded else nullcontext():
            for transform in self.transforms:
                if seeded:
                    stream = f'seeded {type(transform).__name__}'
                    rng = sample_rng(results, stream)
                    seed_global_rngs(int(rng.integers(1 << 63)))
                results = transform(results)
                if results is None:
                    return None
        return results

    def target_view_settings(self) -> dict:
        """Describe the transforms inside, in their order."""
        return describe_in_order(self.transforms)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'
