# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Collate batches in which some samples have tokens and no second view."""

from collections.abc import Sequence

import torch
from mmengine.dataset import default_collate

from mmcae.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_views(samples: Sequence[dict]) -> dict:
    """Join samples into a batch; some of them may have no second view.

    Args:
        samples: Packed samples. Their ``inputs`` are ``[view, target]``, or
            only ``[view]`` if ``data_samples`` has stored ``tokens``.

    Returns:
        A dict with ``inputs`` and ``data_samples``. ``inputs`` is a list of
        two tensors: the encoder's views ``(B, C, H, W)``, and the tokenizer's
        views ``(B', C, H', W')`` of the samples that have one, in the order
        of the samples.
    """
    views = [sample['inputs'] for sample in samples]
    first = default_collate([view[0] for view in views])
    second = [view[1] for view in views if len(view) > 1]
    return dict(
        inputs=[
            first,
            default_collate(second)
            if second
            else torch.empty((0, first.shape[1], 1, 1), dtype=first.dtype),
        ],
        data_samples=[sample['data_samples'] for sample in samples],
    )
