# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attention of an encoder on whole images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmcae.apis.evaluating import evaluating
from mmcae.models.layers.attention import SelfAttention, split_heads


@dataclass(frozen=True)
class AttentionMaps:
    """Attention weights of all blocks for a batch of images.

    The first token is the class token, the others are the patches, row by
    row. Each row of the weights sums to 1.

    Attributes:
        weights: What each token (row) takes from each token (column),
            ``(B, blocks, heads, 1 + L, 1 + L)``.
        grid: Rows and columns of the patch grid, ``L`` in all.
    """

    weights: Tensor
    grid: tuple[int, int]

    @property
    def num_heads(self) -> int:
        """Number of heads of a block."""
        return self.weights.shape[2]

    def of_class_token(
        self, block: int = -1, head: int | None = None
    ) -> np.ndarray:
        """What the class token takes from each patch.

        Args:
            block: Number of the block; negative ones count from the end.
            head: Number of the head. None takes the mean of all heads.

        Returns:
            The weights, ``(B, h, w)``.

        Raises:
            ValueError: If there is no such block or head.
        """
        return self._row(0, block, head)

    def of_patch(
        self, row: int, column: int, block: int = -1, head: int | None = None
    ) -> np.ndarray:
        """What a patch takes from each patch; see `of_class_token`.

        Args:
            row: Row of the patch in the grid, from 0.
            column: Its column.
            block: See `of_class_token`.
            head: See `of_class_token`.

        Raises:
            ValueError: If there is no such patch, block or head.
        """
        return self._row(self._token_of(row, column), block, head)

    def rollout(self, query: tuple[int, int] | None = None) -> np.ndarray:
        """Attention through all blocks (arXiv 2005.00928).

        The weights are averaged over the heads. Because of the skip
        connections, half of each token is the token itself.

        Args:
            query: Row and column of a patch. None takes the class token.

        Returns:
            How much of each patch arrives at the query, ``(B, h, w)``.
        """
        mean = self.weights.mean(dim=2)
        own = torch.eye(mean.shape[-1], device=mean.device)
        total = own.expand(len(mean), -1, -1)
        for block in range(mean.shape[1]):
            total = (0.5 * mean[:, block] + 0.5 * own) @ total
        index = 0 if query is None else self._token_of(*query)
        return self._map(total[:, index])

    def _token_of(self, row: int, column: int) -> int:
        """Number of the token of a patch."""
        rows, columns = self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(
                f'there is no patch {row},{column} in a grid of {rows} x '
                f'{columns}: rows and columns count from 0'
            )
        return 1 + row * columns + column

    def _row(self, token: int, block: int, head: int | None) -> np.ndarray:
        blocks, heads = self.weights.shape[1:3]
        if not -blocks <= block < blocks:
            raise ValueError(
                f'there is no block {block}: the encoder has {blocks}'
            )
        if head is not None and not 0 <= head < heads:
            raise ValueError(f'there is no head {head}: a block has {heads}')
        rows = self.weights[:, block, :, token]
        return self._map(rows.mean(dim=1) if head is None else rows[:, head])

    def _map(self, rows: Tensor) -> np.ndarray:
        return rows[:, 1:].unflatten(1, self.grid).cpu().numpy()


@torch.no_grad()
def attention_maps(encoder: nn.Module, images: Tensor) -> AttentionMaps:
    """Compute the attention weights of all blocks of an encoder.

    The model itself uses kernels that do not return the weights. They are
    computed from the inputs of its attention layers.

    Args:
        encoder: A `CAEViT`; the whole images are encoded, without a mask.
        images: Preprocessed images, ``(B, 3, H, W)``.

    Returns:
        The weights, float32.

    Raises:
        ValueError: If a block attends in windows, which have no map of the
            whole image.
    """
    layers: Any = encoder.layers
    grid = encoder.grid(images)  # type: ignore[operator]
    found: list[Tensor] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(attention_weights(layer, inputs[0], grid))  # type: ignore

    if any(layer.attn.window_size is not None for layer in layers):
        raise ValueError(
            'this encoder attends in windows, so there is no attention over '
            'the whole image: set window_size=None in the config'
        )
    handles = [
        layer.attn.register_forward_pre_hook(record) for layer in layers
    ]
    try:
        with evaluating(encoder):
            encoder(images)
    finally:
        for handle in handles:
            handle.remove()
    return AttentionMaps(torch.stack(found, dim=1), grid)


def attention_weights(
    layer: SelfAttention, x: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Compute the weights with which a layer mixes its tokens.

    Args:
        layer: The attention layer, without windows.
        x: Its input, ``(B, N, D)``.
        grid: The patch grid, for the relative position bias.

    Returns:
        Weights, float32, ``(B, heads, N, N)``.
    """
    qkv = nn.functional.linear(x, layer.qkv.weight, layer.qkv_bias())
    q, k, _ = (split_heads(t, layer.num_heads) for t in qkv.chunk(3, -1))
    scale = layer.qk_scale or q.shape[-1] ** -0.5
    scores = (q @ k.mT).float() * scale
    bias = layer.relative_position_bias(grid)
    if bias is not None:
        scores = scores + bias.float()
    return scores.softmax(dim=-1)
