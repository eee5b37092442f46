# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Encoder, regressor and decoder."""

import torch
import torch.nn.functional as F
from models.modeling_finetune import DropPath, Mlp, PatchEmbed
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads, cross):
        super().__init__()
        self.heads, self.cross = heads, cross
        for name in 'qkv' if cross else ():
            setattr(self, name, nn.Linear(dim, dim, bias=False))
        if not cross:
            self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, k=None, v=None):
        if self.cross:
            q, k, v = self.q(x), self.k(k), self.v(v)
        else:
            q, k, v = self.qkv(x).chunk(3, -1)
        heads = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (q + self.q_bias, k, v + self.v_bias)
        )
        x = F.scaled_dot_product_attention(*heads)
        return self.proj(x.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim, heads, norm):
        super().__init__()
        self.norm1, self.norm2 = norm(dim), norm(dim)
        self.attn, self.mlp = Attention(dim, heads, False), Mlp(dim)
        self.gamma_1 = nn.Parameter(torch.ones(dim))
        self.gamma_2 = nn.Parameter(torch.ones(dim))
        self.drop_path = DropPath(0.0)

    def forward(self, x):
        x = x + self.drop_path(self.gamma_1 * self.attn(self.norm1(x)))
        return x + self.drop_path(self.gamma_2 * self.mlp(self.norm2(x)))


class RegressorBlock(nn.Module):
    def __init__(self, dim, heads, norm):
        super().__init__()
        for name in ('norm1_q', 'norm1_k', 'norm1_v', 'norm2_cross'):
            setattr(self, name, norm(dim))
        self.cross_attn, self.mlp_cross = Attention(dim, heads, True), Mlp(dim)
        self.gamma_1_cross = nn.Parameter(torch.ones(dim))
        self.gamma_2_cross = nn.Parameter(torch.ones(dim))

    def forward(self, x_q, x_kv, pos_q, pos_k, bool_masked_pos):
        x = x_q + self.gamma_1_cross * self.cross_attn(
            self.norm1_q(x_q + pos_q),
            self.norm1_k(x_kv + pos_k),
            self.norm1_v(x_kv),
        )
        x = self.norm2_cross(x)
        return x + self.gamma_2_cross * self.mlp_cross(x)


class Encoder(nn.Module):
    def __init__(self, side, patch, dim, depth, heads, norm):
        super().__init__()
        self.patch_embed = PatchEmbed(side, patch, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, 1 + self.patch_embed.num_patches, dim),
            requires_grad=False,
        )
        self.blocks = nn.ModuleList(
            Block(dim, heads, norm) for _ in range(depth)
        )
        self.norm = norm(dim)

    def forward(self, x, bool_masked_pos):
        x = self.patch_embed(x) + self.pos_embed[:, 1:]
        x = x[~bool_masked_pos].view(len(x), -1, x.shape[-1])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Neck(nn.Module):
    def __init__(self, args, norm):
        super().__init__()
        dim, heads = args.decoder_embed_dim, args.decoder_num_heads
        self.regressor_blocks = nn.ModuleList(
            RegressorBlock(dim, heads, norm)
            for _ in range(args.regressor_depth)
        )
        self.decoder_blocks = nn.ModuleList(
            Block(dim, heads, norm) for _ in range(args.decoder_depth)
        )
        self.norm, self.norm2 = norm(dim), norm(dim)
        self.head = nn.Linear(dim, args.decoder_num_classes)
