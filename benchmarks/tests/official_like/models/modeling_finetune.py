# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Layers. The first import is what pulls in the training code."""

import torch.nn.functional as F
from furnace.utils import LP_BatchNorm  # noqa: F401
from timm.models.layers import drop_path, to_2tuple
from timm.models.registry import register_model  # noqa: F401
from torch import nn


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return drop_path(x, self.rate, self.training)


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class PatchEmbed(nn.Module):
    def __init__(self, side, patch, dim):
        super().__init__()
        (height, width), patches = to_2tuple(side), to_2tuple(patch)
        self.num_patches = (height // patches[0]) * (width // patches[1])
        self.proj = nn.Conv2d(3, dim, patches, patches)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)
