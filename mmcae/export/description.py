# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The metadata of an exported file, the same in every format."""

import json
from typing import Any

from mmcae.export.portable import Part
from mmcae.export.source import Source


def describe(
    source: Source,
    part: Part,
    precision: str = 'float32',
    any_size: bool = False,
    compared_by: str | None = None,
) -> dict[str, Any]:
    """Say what a file holds, how to use it, and where it comes from.

    Args:
        source: The original.
        part: The part that was exported.
        precision: Type of the numbers.
        any_size: Whether the file takes images of all sizes.
        compared_by: What compared it with the original; None if nothing did.

    Returns:
        Metadata: all of `file_header`, and ``part``, ``pool``, ``recipe``,
        ``classes``, ``input`` and ``outputs``.
    """
    own = ('format', 'tensor_names')  # each format says these itself
    header = {k: v for k, v in source.header.items() if k not in own}
    if source.normalization:
        header['normalization'] = source.normalization
    projection = part.encoder.patch_embed.projection
    optional = dict(
        pool=part.pool, recipe=source.recipe, classes=source.class_names
    )
    return {
        **header,
        'part': part.name,
        **{key: value for key, value in optional.items() if value},
        'input': dict(
            name='images',
            channels=projection.in_channels,
            size=list(part.encoder.img_size),
            any_size=any_size,
            patch_size=list(projection.stride),
            color='RGB',
        ),
        'outputs': part.outputs,
        'precision': precision,
        'compared_by': compared_by or 'nothing',
    }


def as_texts(metadata: dict[str, Any]) -> dict[str, str]:
    """Turn values that are not texts into JSON.

    Args:
        metadata: The result of `describe`.
    """
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
