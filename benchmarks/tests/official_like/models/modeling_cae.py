# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The whole model, with the names of the authors' class and tensors."""

import torch
from models.modeling_cae_helper import Encoder, Neck
from models.modeling_finetune import PatchEmbed  # noqa: F401
from timm.models.layers import trunc_normal_
from timm.models.registry import register_model
from torch import nn


class VisionTransformerForMaskedImageModeling(nn.Module):
    def __init__(
        self, img_size, patch_size, vocab_size, embed_dim, depth, num_heads,
        mlp_ratio, norm_layer, init_values, args,
    ):  # fmt: skip
        super().__init__()
        sizes = img_size, patch_size, embed_dim, depth, num_heads, norm_layer
        self.encoder, self.teacher = Encoder(*sizes), Encoder(*sizes)
        self.teacher.requires_grad_(False)
        self.pretext_neck = Neck(args, norm_layer)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def momentum_update(self, momentum):
        pairs = zip(
            self.teacher.parameters(), self.encoder.parameters(), strict=True
        )
        for teacher, encoder in pairs:
            teacher.data = teacher.data * momentum + encoder.data

    def forward(self, x, bool_masked_pos):
        neck, mask = self.pretext_neck, bool_masked_pos
        visible = self.encoder(x, mask)[:, 1:]
        with torch.no_grad():
            target = self.teacher(x, ~mask)[:, 1:]
            self.momentum_update(0)
        # As in the authors' code, this call fails on a machine without CUDA.
        table = self.encoder.pos_embed[:, 1:].expand(len(x), -1, -1)
        table = table.cuda(x.device)
        shape = len(x), -1, table.shape[-1]
        masked_positions = table[mask].view(shape)
        positions = torch.cat([table[~mask].view(shape), masked_positions], 1)
        y = self.mask_token.expand(len(x), masked_positions.shape[1], -1)
        for block in neck.regressor_blocks:
            context = torch.cat([visible, y], 1)
            y = block(y, context, masked_positions, positions, mask)
        latent = neck.norm(y)
        y = latent + masked_positions
        for block in neck.decoder_blocks:
            y = block(y)
        return neck.head(neck.norm2(y)).flatten(0, 1), latent, target


@register_model
def cae_like(pretrained=False, **kwargs):
    return VisionTransformerForMaskedImageModeling(**kwargs)
