# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Collate samples of which some bring tokens instead of a second view."""

from collections.abc import Sequence

import torch
from mmengine.dataset import default_collate

from mmcae.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_views(samples: Sequence[dict]) -> dict:
    """Join samples of which some have no second view.

    Args:
        samples: Packed samples; their ``inputs`` are ``[view, target]``, or
            ``[view]`` where ``data_samples`` has stored ``tokens``.

    Returns:
        ``inputs``: the encoder's views ``(B, C, H, W)``, and the tokenizer's
        views of those samples that have one, in their order,
        ``(B', C, H', W')``; and the ``data_samples``.
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
