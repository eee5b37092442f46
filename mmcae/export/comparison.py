# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Compare an exported model with the original."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import Tensor

from mmcae.export.portable import Part

#: Takes normalized images and returns the outputs of the exported model.
Run = Callable[[Tensor], Sequence[Tensor]]


class ExportError(ValueError):
    """An export that is refused, or whose outputs differ too much."""


@dataclass
class Comparison:
    """How far the outputs of two models are apart.

    Attributes:
        runtime: What ran the exported model, such as ``'onnxruntime 1.32'``.
        shapes: Shapes of the batches that were compared.
        absolute: Largest absolute difference of each output.
        relative: The same, divided by the output's largest value.
        cosine: Smallest cosine between the outputs of an image.
    """

    runtime: str
    shapes: list[tuple[int, ...]]
    absolute: dict[str, float]
    relative: dict[str, float]
    cosine: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest relative difference; NaN if an output is NaN."""
        return torch.tensor(list(self.relative.values())).max().item()

    def __str__(self) -> str:
        batches = ', '.join('x'.join(map(str, s)) for s in self.shapes)
        lines = [f'compared with the original by {self.runtime}: {batches}']
        lines += [
            f'  {name}: largest difference {self.absolute[name]:.2g} '
            f'(relative {self.relative[name]:.2g}), '
            f'smallest cosine {self.cosine[name]:.6f}'
            for name in self.absolute
        ]
        return '\n'.join(lines)


def sample_batches(part: Part, any_size: bool) -> list[Tensor]:
    """Make images for a comparison.

    Args:
        part: What is exported.
        any_size: Whether images of other sizes are compared, too.

    Returns:
        Batches of one and of three images of the encoder's size; with
        ``any_size`` also a rectangle of whole patches, and a size that the
        patches do not divide.
    """
    random = torch.Generator().manual_seed(0)
    channels = part.encoder.patch_embed.projection.in_channels
    height, width = part.encoder.img_size
    down, right = part.encoder.patch_embed.projection.stride
    sizes = [(1, height, width), (3, height, width)]
    if any_size:
        sizes.append((2, height + down, width + 2 * right))
        sizes.append((1, height + down // 2, width))
    return [
        torch.randn(n, channels, h, w, generator=random) for n, h, w in sizes
    ]


def compare(
    part: Part, run: Run, batches: Sequence[Tensor], runtime: str
) -> Comparison:
    """Run both models on the same images.

    Args:
        part: The original.
        run: The exported model.
        batches: Normalized images, ``(B, C, H, W)`` each.
        runtime: What runs the exported model.

    Returns:
        The largest differences over all batches.

    Raises:
        ExportError: If the outputs have other shapes.
    """
    absolute = dict.fromkeys(part.outputs, 0.0)
    relative, cosine = dict(absolute), dict.fromkeys(part.outputs, 1.0)
    for images in batches:
        originals = part.original(images)
        exported = [torch.as_tensor(value) for value in run(images)]
        pairs = zip(part.outputs, originals, exported, strict=True)
        for name, old, new in pairs:
            if old.shape != new.shape:
                raise ExportError(
                    f'{name} has the shape {tuple(new.shape)} in the '
                    f'exported model, but {tuple(old.shape)} in the original'
                )
            old, new = old.double(), new.double()
            gap = (old - new).abs().max()
            scale = old.abs().max().clamp_min(1e-12)
            near = torch.cosine_similarity(
                old.flatten(1), new.flatten(1)
            ).min()
            absolute[name] = _larger(absolute[name], gap.item())
            relative[name] = _larger(relative[name], (gap / scale).item())
            cosine[name] = min(cosine[name], near.item())
    shapes = [tuple(images.shape) for images in batches]
    return Comparison(runtime, shapes, absolute, relative, cosine)


def _larger(one: float, other: float) -> float:
    """The larger number; NaN counts as the largest."""
    return other if not other <= one else one


def check(comparison: Comparison, tolerance: float) -> None:
    """Refuse an export whose outputs differ too much.

    Args:
        comparison: The measured differences.
        tolerance: The largest relative difference that is allowed.

    Raises:
        ExportError: If a difference is larger, or an output is NaN.
    """
    if not comparison.worst <= tolerance:
        raise ExportError(
            'the exported model does not compute what the original computes, '
            f'so no file is kept: relative difference {comparison.worst:.2g}, '
            f'allowed {tolerance:.2g}.\n{comparison}'
        )


def version_of(package: str) -> str:
    """Name and version of an installed package.

    Raises:
        ExportError: If it is not installed.
    """
    try:
        return f'{package} {metadata.version(package)}'
    except metadata.PackageNotFoundError:
        raise ExportError(
            f'{package} is not installed, which is needed here: '
            f"pip install 'mmcae[export]' (or pip install {package})"
        ) from None
