# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The two families of initial weights in the authors' recipes."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .attention import CrossAttention, SelfAttention
from .block import EncoderBlock, RegressorBlock

WEIGHT_INITS = ('xavier', 'beit')
STD = 0.02


@torch.no_grad()
def trunc_normal_(tensor: Tensor, std: float = STD) -> Tensor:
    """Fill with a normal distribution that is cut at ``-std`` and ``std``.

    The authors cut at the standard deviation itself, so that the standard
    deviation of the result is 0.54 times ``std`` (mmengine cuts at twice the
    standard deviation).

    The numbers come from the inverse of the distribution function, as in
    PyTorch 2.9. PyTorch 2.14 draws again until all values lie inside: with
    it, the same seed would give other weights, in this tensor and in all
    that are drawn after it.
    """
    inside = math.erf(1 / math.sqrt(2))  # share within one `std`
    tensor.uniform_(-inside, inside).erfinv_().mul_(std * math.sqrt(2))
    return tensor.clamp_(-std, std)


def check_weight_init(weight_init: str) -> str:
    """Return ``weight_init``; raise ``ValueError`` if there is no such one."""
    if weight_init not in WEIGHT_INITS:
        raise ValueError(
            f'weight_init must be one of {WEIGHT_INITS}, got {weight_init!r}'
        )
    return weight_init


@torch.no_grad()
def init_module_(module: nn.Module, weight_init: str) -> None:
    """Draw every layer of a module from one of the two families.

    Args:
        module: Its linear layers, norms and convolutions are filled.
        weight_init: ``'xavier'`` (small and base recipes): Xavier uniform
            linear weights, where queries, keys and values are one matrix of
            shape ``(3 D, D)``. ``'beit'`` (large recipe): truncated normal.
            In both, biases are zero, norms are one and zero, and
            convolutions are truncated normal.
    """
    check_weight_init(weight_init)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            if weight_init == 'xavier':
                nn.init.xavier_uniform_(layer.weight)
            else:
                trunc_normal_(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.LayerNorm):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        elif isinstance(layer, nn.Conv2d):
            trunc_normal_(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, SelfAttention | CrossAttention):
            for bias in (layer.q_bias, layer.v_bias):
                if bias is not None:
                    bias.zero_()


@torch.no_grad()
def rescale_blocks_(
    blocks: Iterable[EncoderBlock | RegressorBlock],
) -> None:
    """Divide the output layers of block ``l`` by ``sqrt(2 l)`` (BEiT).

    Args:
        blocks: Encoder, decoder or regressor blocks in order; ``l`` counts
            from one. The output projection of the attention and the second
            linear layer of the feed-forward network are divided.
    """
    for depth, block in enumerate(blocks, start=1):
        is_encoder = isinstance(block, EncoderBlock)
        attention = block.attn if is_encoder else block.cross_attn
        factor = math.sqrt(2.0 * depth)
        attention.proj.weight.div_(factor)
        block.ffn.layers[1].weight.div_(factor)
