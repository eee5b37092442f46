# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The benchmark tools, importable, and a stand-in for the authors' code."""

import sys
from pathlib import Path

TOOLS = Path(__file__).parents[1]
if str(TOOLS) not in sys.path:
    sys.path.insert(0, str(TOOLS))

# A CAE with the interface and the tensor names of the authors' model, written
# for the tests: their code is not at hand.
OFFICIAL_LIKE = """
import torch
import torch.nn.functional as F
from torch import nn
from mmcae.models.layers import sincos_position


def attend(module, q, k, v):
    heads = (t.unflatten(-1, (module.heads, -1)).transpose(1, 2)
             for t in (q, k, v))
    x = F.scaled_dot_product_attention(*heads)
    return module.proj(x.transpose(1, 2).flatten(2))


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
        return attend(self, q + self.q_bias, k, v + self.v_bias)


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, norm):
        super().__init__()
        self.norm1, self.norm2 = norm(dim), norm(dim)
        self.attn, self.mlp = Attention(dim, heads, False), Mlp(dim)
        self.gamma_1 = nn.Parameter(torch.ones(dim))
        self.gamma_2 = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        x = x + self.gamma_1 * self.attn(self.norm1(x))
        return x + self.gamma_2 * self.mlp(self.norm2(x))


class Regressor(nn.Module):
    def __init__(self, dim, heads, norm):
        super().__init__()
        for name in ('norm1_q', 'norm1_k', 'norm1_v', 'norm2_cross'):
            setattr(self, name, norm(dim))
        self.cross_attn, self.mlp_cross = Attention(dim, heads, True), Mlp(dim)
        self.gamma_1_cross = nn.Parameter(torch.ones(dim))
        self.gamma_2_cross = nn.Parameter(torch.ones(dim))

    def forward(self, x, context, pos, pos_context, mask):
        x = x + self.gamma_1_cross * self.cross_attn(
            self.norm1_q(x + pos), self.norm1_k(context + pos_context),
            self.norm1_v(context))
        x = self.norm2_cross(x)
        return x + self.gamma_2_cross * self.mlp_cross(x)


class Encoder(nn.Module):
    def __init__(self, side, patch, dim, depth, heads, norm):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, 1 + side * side, dim), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(dim, heads, norm) for _ in range(depth))
        self.norm = norm(dim)

    def forward(self, x, bool_masked_pos):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = x + self.pos_embed[:, 1:]
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
            Regressor(dim, heads, norm) for _ in range(args.regressor_depth))
        self.decoder_blocks = nn.ModuleList(
            Block(dim, heads, norm) for _ in range(args.decoder_depth))
        self.norm, self.norm2 = norm(dim), norm(dim)
        self.head = nn.Linear(dim, args.decoder_num_classes)


class VisionTransformerForMaskedImageModeling(nn.Module):
    def __init__(self, img_size, patch_size, vocab_size, embed_dim, depth,
                 num_heads, mlp_ratio, norm_layer, init_values, args):
        super().__init__()
        sizes = (img_size // patch_size, patch_size, embed_dim, depth,
                 num_heads, norm_layer)
        self.encoder, self.teacher = Encoder(*sizes), Encoder(*sizes)
        self.teacher.requires_grad_(False)
        self.pretext_neck = Neck(args, norm_layer)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))

    def momentum_update(self, momentum):
        pairs = zip(self.teacher.parameters(), self.encoder.parameters())
        for teacher, encoder in pairs:
            teacher.data = teacher.data * momentum + encoder.data

    def forward(self, x, bool_masked_pos):
        neck, mask = self.pretext_neck, bool_masked_pos
        shown = self.encoder(x, mask)[:, 1:]
        with torch.no_grad():
            target = self.teacher(x, ~mask)[:, 1:]
            self.momentum_update(0)
        # As theirs, this stops on a CPU unless it is told otherwise.
        pos = self.encoder.pos_embed[:, 1:].expand(len(x), -1, -1)
        pos = pos.cuda(x.device)
        split = len(x), -1, pos.shape[-1]
        hidden = pos[mask].view(split)
        places = torch.cat([pos[~mask].view(split), hidden], 1)
        y = self.mask_token.expand(len(x), hidden.shape[1], -1)
        for block in neck.regressor_blocks:
            y = block(y, torch.cat([shown, y], 1), hidden, places, mask)
        latent = neck.norm(y)
        y = latent + hidden
        for block in neck.decoder_blocks:
            y = block(y)
        return neck.head(neck.norm2(y)).flatten(0, 1), latent, target
"""
