# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""An encoder whose constructor comes from attrs."""

import attr
import torch
from torch import nn


@attr.s(eq=False, repr=False)
class Encoder(nn.Module):
    group_count: int = 4  # belongs to the class, is no argument
    n_in: int = attr.ib(validator=lambda instance, field, value: value >= 1)
    n_hid: int = attr.ib(default=2, validator=lambda *_: True)
    device: torch.device = attr.ib(default=torch.device('cpu'))

    def __attrs_post_init__(self):
        super().__init__()
        self.conv = nn.Conv2d(self.n_in, self.n_hid, 1, device=self.device)

    def forward(self, x):
        return self.conv(x)
