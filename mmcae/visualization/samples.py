# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Panels of training samples."""

from collections.abc import Sequence

import numpy as np

from .figures import paint_masked


def sample_panels(
    views: Sequence[np.ndarray], mask: np.ndarray | None, title: str
) -> dict[str, np.ndarray]:
    """Make the panels of one sample.

    Args:
        views: RGB in [0, 1], each ``(H, W, 3)``: for the encoder and, in
            pretraining, for the tokenizer.
        mask: True where a patch is masked, ``(h, w)``, or None.
        title: Title of the first panel.

    Returns:
        Titles and pictures: the encoder's view, the same with masked patches
        gray, and the tokenizer's view.
    """
    panels = {title: views[0]}
    if mask is not None:
        panels[f'{title}: visible'] = paint_masked(views[0][None], mask[None])[
            0
        ]
    if len(views) > 1:
        panels[f'{title}: tokenizer'] = views[1]
    return panels
