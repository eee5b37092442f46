# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The part of a model that is exported, and a form of it for tracing."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcae.export.formats import PARTS, POOLS
from mmcae.export.source import Classifier, Source
from mmcae.models import CAEViT
from mmcae.models.layers.attention import SelfAttention
from mmcae.models.layers.relative_position import interpolate_bias_table


@dataclass
class Part:
    """What is exported: an encoder with a certain output, and a head.

    Attributes:
        name: One of `PARTS`.
        encoder: Its ``forward`` gives the features: of an encoder the pooled
            ones, of a dense backbone the feature maps.
        classifier: Neck and head of a classifier, else None.
        pool: One of `POOLS`, of an encoder; else None.
        outputs: Names of the outputs.
    """

    name: str
    encoder: CAEViT
    classifier: Classifier | None
    pool: str | None
    outputs: list[str]

    @torch.no_grad()
    def original(self, images: Tensor) -> list[Tensor]:
        """Compute the outputs with the classes that trained the model.

        Args:
            images: Normalized images, ``(B, C, H, W)``.

        Returns:
            One tensor for each of ``outputs``.
        """
        features = self.encoder(images)
        if self.name == 'dense':
            return list(features)
        if self.classifier is not None:
            return [self.classifier(features[-1])]
        whole = copy.copy(self.encoder)
        whole.out_type = 'raw'
        return [features[-1], whole(images)[-1][:, 1:]]


def choose_part(source: Source, part: str | None) -> str:
    """Return the part that is asked for, or the one that a model is for.

    Raises:
        ValueError: If there is no such part.
    """
    if part is None:
        if source.classifier is not None:
            return 'classifier'
        whole = ('encoder', 'pretraining model')
        return 'encoder' if source.kind in whole else 'dense'
    if part not in PARTS:
        raise ValueError(f'part={part!r} is none of {", ".join(PARTS)}')
    if part == 'classifier' and source.classifier is None:
        raise ValueError(
            f'this checkpoint is a {source.kind} and has no classifier: '
            "export part='encoder' or 'dense', or fine-tune it first"
        )
    return part


def make_part(
    source: Source,
    part: str,
    pool: str | None = None,
    out_indices: Sequence[int] | None = None,
) -> Part:
    """Cut out the part to export.

    Args:
        source: The model.
        part: One of `PARTS`.
        pool: One of `POOLS`, for an encoder with a final norm: ``'mean'`` of
            the normalized patch tokens, the normalized class token
            (``'cls'``), or the mean of the patch tokens, which is then
            normalized (``'normed_mean'``, as in fine-tuning).
        out_indices: Blocks whose output a dense backbone returns. Defaults
            to those of the config, or else four, evenly spread.

    Returns:
        The part; the source stays as it is.

    Raises:
        ValueError: If an argument has no meaning for this model.
    """
    encoder = copy.deepcopy(source.encoder)
    if part == 'dense':
        indices = _out_indices(encoder, out_indices)
        encoder.out_indices = indices
        encoder.out_type = 'featmap'
        if encoder.final_norm != 'every':
            encoder.ln1 = nn.Identity()
        encoder.ln2 = nn.Identity()
        names = [f'block_{index}' for index in indices]
        return Part(part, encoder, None, None, names)
    encoder.out_indices = [encoder.num_layers - 1]
    if part == 'classifier':
        encoder.out_type = {
            'fine-tuned classifier': 'avg_featmap',
            'linear probe': 'cls_token',
            'attentive probe': 'raw',
        }.get(source.kind, encoder.out_type)
        classifier = copy.deepcopy(source.classifier)
        return Part(part, encoder, classifier, None, ['logits'])
    pool = _set_pool(encoder, pool)
    return Part(part, encoder, None, pool, ['features', 'patches'])


def _out_indices(
    encoder: CAEViT, out_indices: Sequence[int] | None
) -> list[int]:
    depth = encoder.num_layers
    if out_indices is None:
        if len(encoder.out_indices) > 1:
            return sorted(encoder.out_indices)
        count = min(4, depth)
        return [depth * (i + 1) // count - 1 for i in range(count)]
    for index in out_indices:
        if not -depth <= index < depth:
            raise ValueError(
                f'out_indices={list(out_indices)}: there is no block {index} '
                f'among {depth}'
            )
    return sorted({index % depth for index in out_indices})


def _set_pool(encoder: CAEViT, pool: str | None) -> str:
    """Let the encoder pool its output; return the kind of pooling."""
    if not encoder.final_norm:
        # Fine-tuned: its norm stands after the pooling.
        if pool not in (None, 'normed_mean'):
            raise ValueError(
                f'pool={pool!r}: this encoder has no final norm, because it '
                "was fine-tuned; its features are pool='normed_mean'"
            )
        encoder.out_type = 'avg_featmap'
        return 'normed_mean'
    pool = pool or 'mean'
    if pool not in POOLS:
        raise ValueError(f'pool={pool!r} is none of {", ".join(POOLS)}')
    if pool == 'normed_mean':
        encoder.ln1, encoder.ln2 = nn.Identity(), encoder.ln1
    else:
        encoder.ln2 = nn.Identity()
    encoder.out_type = 'cls_token' if pool == 'cls' else 'avg_featmap'
    return pool


class PortableModel(nn.Module):
    """A part of a model in a form that exporters can follow.

    Exporters record operations, not Python decisions. `CAEViT` decides by
    the size of an image whether it resizes its positions and pads the image;
    here both always happen. For a size that needs neither, they change
    nothing.

    Args:
        part: What to export; it is copied.
        any_size: Whether the recorded operations fit images of all sizes.

    Raises:
        ValueError: If the size cannot be dynamic.
    """

    def __init__(self, part: Part, any_size: bool = True) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(part.encoder)
        self.classifier = copy.deepcopy(part.classifier)
        self.part = part.name
        self.any_size = any_size
        if any_size and has_windows(self.encoder):
            raise ValueError(
                'the encoder attends in windows, and how many there are '
                'depends on the image: export it with dynamic_size=False'
            )
        for layer in self.encoder.layers:
            if any_size and layer.attn.bias_grid is not None:
                layer.attn.relative_position_bias = _any_grid_bias(layer.attn)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs; see `Part.original`."""
        encoder = self.encoder
        x, grid = self._embed(images)
        maps = []
        for i, layer in enumerate(encoder.layers):
            x = layer(x, grid)
            if self.part == 'dense' and i in encoder.out_indices:
                out = encoder.ln1(x) if encoder.final_norm else x
                maps.append(encoder._format_output(out, grid))
        if self.part == 'dense':
            return tuple(maps)
        x = encoder.ln1(x)
        features = encoder._format_output(x, grid)
        if self.classifier is not None:
            return (self.classifier(features),)
        return features, x[:, 1:]

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        encoder = self.encoder
        if not self.any_size:
            tokens, position, grid = encoder.embed(images)
        else:
            projection = encoder.patch_embed.projection
            sides = zip(images.shape[-2:], projection.stride, strict=True)
            # Only of positive numbers does ONNX round a quotient down.
            missing = [(n + p - 1) // p * p - n for n, p in sides]
            images = F.pad(images, (0, missing[1], 0, missing[0]))
            maps = projection(images)
            grid = (maps.shape[-2], maps.shape[-1])
            tokens = maps.flatten(2).transpose(1, 2)
            position = self._positions(grid, tokens)
        # `CAEViT.prepend_class_token` asks for len(), a number to exporters.
        token = encoder.cls_token + position[:, :1]
        token = token.expand(tokens.shape[0], -1, -1)
        return torch.cat([token, tokens + position[:, 1:]], dim=1), grid

    def _positions(self, grid: tuple[int, int], tokens: Tensor) -> Tensor:
        table = self.encoder.pos_embed
        if table is None:
            return torch.zeros_like(tokens[:1, :1])
        patches = table[:, 1:].unflatten(1, self.encoder.patch_resolution)
        resized = F.interpolate(
            patches.permute(0, 3, 1, 2),
            size=grid,
            mode=self.encoder.interpolate_mode,
            align_corners=False,
        )
        return torch.cat(
            [table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1
        )


def has_windows(encoder: CAEViT) -> bool:
    """Whether some blocks attend in windows."""
    return any(layer.attn.window_size for layer in encoder.layers)


def _any_grid_bias(
    attention: SelfAttention,
) -> Callable[[tuple[int, int]], Tensor]:
    """Make a `SelfAttention.relative_position_bias` for all grids."""
    own_grid: Any = attention.bias_grid

    def relative_position_bias(grid: tuple[int, int]) -> Tensor:
        table: Tensor = attention.relative_position_bias_table
        table = interpolate_bias_table(table, own_grid, grid)
        rows, columns = grid
        patch = torch.arange(rows * columns, device=table.device)
        row = patch // columns
        column = patch - row * columns
        delta_row = row[:, None] - row[None] + (rows - 1)
        delta_column = column[:, None] - column[None] + (columns - 1)
        index = delta_row * (2 * columns - 1) + delta_column
        # The rows of the class token stand at the end of the table.
        pairs = (2 * rows - 1) * (2 * columns - 1)
        to_patch = torch.zeros_like(index[:1]) + pairs
        to_class = torch.zeros_like(index[:, :1]) + (pairs + 1)
        itself = torch.zeros_like(index[:1, :1]) + (pairs + 2)
        first = torch.cat([itself, to_patch], dim=1)
        index = torch.cat([first, torch.cat([to_class, index], dim=1)])
        return table[index].permute(2, 0, 1)

    return relative_position_bias
