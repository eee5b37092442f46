# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find how the images were normalized for the model of a checkpoint."""

import json
from collections.abc import Mapping
from typing import Any

from mmcae.checkpoint.config_literals import config_literals
from mmcae.checkpoint.weights import meta_of

# Of the recipes for ImageNet, for RGB values in 0..1.
IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def recorded_normalization(
    checkpoint: Mapping[str, Any], channels: int = 3
) -> dict[str, list[float]] | None:
    """Find mean and standard deviation in the metadata of a checkpoint.

    A training run stores its config, and a converted file stores the
    numbers. The config is Python code. It is parsed, never executed: only its
    literals are used.

    Args:
        checkpoint: The content of a file.
        channels: Channels of the model's images.

    Returns:
        ``mean`` and ``std`` for values in 0..1. None if the file does not say
        a value for each channel, or if three are not in the order RGB.
    """
    meta = meta_of(checkpoint)
    written = meta.get('normalization')
    if isinstance(written, str):
        try:
            written = json.loads(written)
        except ValueError:
            written = None
    if isinstance(written, Mapping):
        values = written.get('mean'), written.get('std')
        return _checked(*values, 1, channels)
    config = config_literals(meta.get('cfg'))
    model = config.get('model')
    inner = model.get('data_preprocessor') if isinstance(model, dict) else None
    for parts in (inner, config.get('data_preprocessor')):
        if isinstance(parts, dict) and parts.get('mean') is not None:
            is_rgb = parts.get('to_rgb') or parts.get('bgr_to_rgb')
            if channels == 3 and not is_rgb:
                return None
            return _checked(parts['mean'], parts.get('std'), 255, channels)
    return None


def _checked(
    mean: Any, std: Any, scale: float, count: int
) -> dict[str, list[float]] | None:
    values = {}
    for name, numbers in (('mean', mean), ('std', std)):
        if not isinstance(numbers, list | tuple) or len(numbers) != count:
            return None
        if not all(type(number) in (int, float) for number in numbers):
            return None
        values[name] = [round(number / scale, 6) for number in numbers]
    return values
