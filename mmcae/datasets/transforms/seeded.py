# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Other libraries' transforms, with draws that follow the sample."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmcae.datasets.sample_seed import SampleIndex, sample_rng
from mmcae.registry import TRANSFORMS

from .target_view import describe_in_order

# Takes the place of NumPy's own. Made once: it takes 0.1 ms.
_spare = np.random.MT19937(0)


@contextmanager
def keep_global_rngs() -> Iterator[None]:
    """Put the global generators back as they were, whatever is drawn.

    Those of NumPy, ``random`` and PyTorch (CPU). NumPy's is exchanged, as
    copying its state takes far longer; the second number of a pair of normal
    draws, which NumPy keeps for the next call, is lost.
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
    """Begin the global generators anew, inside :func:`keep_global_rngs`.

    Args:
        seed: Non-negative, below 2 ** 63.
    """
    np.random.seed([seed >> 32, seed & 0xFFFFFFFF])
    random.seed(seed)
    # torch.manual_seed would turn to the GPUs as well, and take long
    torch.default_generator.manual_seed(seed)


@TRANSFORMS.register_module()
class Seeded(BaseTransform):
    """Transforms that draw from global generators, made deterministic.

    Before each of them the global generators of NumPy, ``random`` and
    PyTorch (CPU) are seeded from (run seed, epoch, index) and the name of
    its class; afterwards they are as before. So workers, processes and
    restarts cannot change the draws, and neither can the other transforms.
    Transforms of mmcae need no such wrapper.

    Without an identity (see :func:`~mmcae.datasets.sample_rng`) the
    transforms draw from the global generators as they are.

    Args:
        transforms: Configs of the transforms, or transforms, in order.
    """

    def __init__(self, transforms: Sequence[dict | BaseTransform]) -> None:
        self.transforms = [
            TRANSFORMS.build(item) if isinstance(item, dict) else item
            for item in transforms
        ]

    def transform(self, results: dict) -> dict | None:
        """Apply them; ``None`` from one of them ends it, as in a pipeline."""
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
