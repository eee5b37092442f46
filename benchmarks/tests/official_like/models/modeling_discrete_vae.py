# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The tokenizers that the training code can choose from."""

from dall_e import load_model
from einops import rearrange


class Dalle_VAE:
    load_model = staticmethod(load_model)


class DiscreteVAE:
    def decode(self, x):
        return rearrange(x, 'b n c -> b c n')
