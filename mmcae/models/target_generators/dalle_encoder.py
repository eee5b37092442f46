# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""DALL-E's image encoder: the tokenizer T of CAE (arXiv 2102.12092)."""

import warnings
from collections import OrderedDict
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmcae.registry import MODELS

from ..layers.masking import PatchSplit
from ..ops.linear import linear
from .common import select_patches
from .dalle_layers import (
    DALLEConv,
    FrozenTokenizer,
    make_group,
)

# Patches that the last layer takes at a time: 4096 x 8192 logits are 134 MB.
_NUM_ROWS = 4096
# Images on which tokens in reduced precision are compared with float32, once.
_NUM_COMPARED_IMAGES = 4


@MODELS.register_module(name=['DALLEEncoder', 'DALL-E'])
class DALLEEncoder(FrozenTokenizer):
    """Encoder of the discrete VAE: one visual token for 8 x 8 pixels.

    Tensor names are those of OpenAI's ``encoder.pkl`` and of OpenMMLab's
    ``dalle_encoder.pth``.

    Args:
        group_count: Number of groups of blocks; each group but the last
            halves the resolution.
        n_hid: Width of the first group; each further group is twice as wide.
        n_blk_per_group: Blocks in a group.
        input_channels: Channels of the images.
        vocab_size: Number of codes.
        device: Device of the parameters. Defaults to PyTorch's default.
        requires_grad: Ignored, since a tokenizer is never trained. It is
            accepted because mmpretrain's configs give it.
        precision: ``'fp32'``, ``'fp16'``, ``'bf16'`` or ``'auto'`` (float16
            on GPUs, float32 elsewhere) for all convolutions but the last,
            which stays in float32.
        init_cfg: ``dict(type='Pretrained', checkpoint=path or URL)`` loads
            the weights; every tensor must match.
    """

    # Mean and std that map pixels (0 to 255) to 0.8 * x / 255 + 0.1.
    pixel_norm = (-31.875, 318.75)

    def __init__(
        self,
        group_count: int = 4,
        n_hid: int = 256,
        n_blk_per_group: int = 2,
        input_channels: int = 3,
        vocab_size: int = 8192,
        device: torch.device | str | None = None,
        requires_grad: bool = False,
        precision: str = 'fp32',
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(precision, init_cfg)
        if requires_grad:
            warnings.warn(
                'requires_grad=True of DALLEEncoder is ignored: a tokenizer '
                'is never trained.',
                stacklevel=2,
            )
        self.input_channels = input_channels
        self.vocab_size = vocab_size
        self.downsample = 2 ** (group_count - 1)
        gain = 1 / (group_count * n_blk_per_group) ** 2
        widths = [n_hid * 2**i for i in range(group_count)]
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        blocks['input'] = DALLEConv(input_channels, n_hid, 7)
        for i, width in enumerate(widths):
            last = i == group_count - 1
            blocks[f'group_{i + 1}'] = make_group(
                widths[max(i - 1, 0)],
                width,
                n_blk_per_group,
                gain,
                (3, 3, 3, 1),
                None if last else ('pool', nn.MaxPool2d(2)),
            )
        blocks['output'] = nn.Sequential(
            OrderedDict(
                relu=nn.ReLU(inplace=True),
                conv=DALLEConv(widths[-1], vocab_size, 1),
            )
        )
        self.blocks: Any = nn.Sequential(blocks)
        self._compared = False
        self.freeze()
        if device is not None:
            self.to(device)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of every code for every patch.

        Args:
            x: Images in [0, 1], already mapped by `map_pixels`
                (``0.8 * x + 0.1``), ``(B, 3, H, W)``.

        Returns:
            Logits in float32, ``(B, K, H / 8, W / 8)``.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self.blocks.output.conv(self._features(x))

    @torch.no_grad()
    def tokenize(
        self, images: Tensor, mask: Tensor | PatchSplit | None = None
    ) -> Tensor:
        """Turn images into visual tokens.

        The 1x1 convolution to the 8192 codes is a sixth of the work; with a
        mask it is computed for the masked patches only.

        Args:
            images: Images in [0, 1], already mapped (``0.8 * x + 0.1``),
                ``(B, 3, H, W)``.
            mask: ``True`` where a patch is masked, bool ``(B, L)``, or what
                `split_patches` made of that.

        Returns:
            Tokens, row-major, int64, ``(B, L)``; with a mask those of the
            masked patches, image by image, ``(N,)``.

        Raises:
            ValueError: If the images do not fit the network, or the mask
                does not fit the images.
        """
        with torch.autocast(images.device.type, enabled=False):
            rows = select_patches(self._features(images), mask)
            conv = self.blocks.output.conv
            w, b = conv.w.flatten(1).float(), conv.b.float()
            found = [linear(r, w, b).argmax(-1) for r in rows.split(_NUM_ROWS)]
            tokens = torch.cat(found)
        if not self._compared and self.compute_dtype != torch.float32:
            self._report_agreement(images[:_NUM_COMPARED_IMAGES])
        return tokens if mask is not None else tokens.view(len(images), -1)

    def _report_agreement(self, images: Tensor) -> None:
        """Log once which share of the tokens float32 gives, too."""
        self._compared = True
        reduced, precision = self.tokenize(images), self.precision
        dtype = self.compute_dtype
        self.precision = 'fp32'
        try:
            share = (self.tokenize(images) == reduced).float().mean().item()
        finally:
            self.precision = precision
        print_log(
            f'Tokenizer in {dtype}: {share:.2%} of the tokens of '
            f'{len(images)} images are those of float32',
            logger='current',
        )

    def _features(self, x: Tensor) -> Tensor:
        """Compute all but the last convolution in `precision`."""
        if x.ndim != 4 or x.shape[1] != self.input_channels:
            raise ValueError(
                f'images have the shape {tuple(x.shape)}; DALLEEncoder '
                f'takes (B, {self.input_channels}, H, W).'
            )
        if x.shape[2] % self.downsample or x.shape[3] % self.downsample:
            raise ValueError(
                f'images of {x.shape[2]} x {x.shape[3]} pixels; each side '
                f'must be a multiple of {self.downsample}.'
            )
        x = self.arrange(x)
        for name, block in self.blocks.named_children():
            if name != 'output':
                x = block(x)
        return self.blocks.output.relu(x).float()
