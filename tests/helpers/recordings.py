# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Recordings of the authors' code, and functions to compare with them."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

DATA = Path(__file__).parents[1] / 'data'


# Sizes for `cae_config`, of a CAE that runs in milliseconds.
TINY = dict(
    img_size=64,
    patch_size=16,
    embed_dim=32,
    depth=2,
    num_heads=4,
    regressor_depth=1,
    decoder_depth=1,
    decoder_embed_dim=32,
    decoder_num_heads=4,
    vocab_size=24,
    layer_scale=0.1,
    align_weight=2.0,
)


class Recording:
    """A safetensors file with inputs, weights, outputs and gradients."""

    def __init__(self, name: str) -> None:
        with safe_open(DATA / f'{name}.safetensors', 'pt') as file:
            self.config = json.loads(file.metadata()['config'])
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose key has a prefix, without the prefix."""
        prefix += '/'
        return {
            key[len(prefix) :]: value
            for key, value in self.tensors.items()
            if key.startswith(prefix)
        }


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Divide the largest difference by the largest reference value."""
    assert value.shape == reference.shape, (value.shape, reference.shape)
    scale = reference.abs().max().clamp_min(1e-12)
    return ((value - reference).abs().max() / scale).item()


class FixedTokens(nn.Module):
    """A tokenizer that always returns the given tokens."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.register_buffer('tokens', tokens)

    def tokenize(self, images: Tensor) -> Tensor:
        """Return the tokens ``(B, L)`` for any images."""
        return self.tokens


def cae_config(config: dict, **kwargs) -> dict:
    """Return the config of the `CAE` of a pretraining recording."""
    dims, decoder = config['embed_dim'], config['decoder_embed_dim']
    return dict(
        type='mmcae.CAE',
        backbone=dict(
            type='mmcae.CAEPretrainViT',
            arch=dict(
                embed_dims=dims,
                num_layers=config['depth'],
                num_heads=config['num_heads'],
                feedforward_channels=4 * dims,
            ),
            img_size=config['img_size'],
            patch_size=config['patch_size'],
            layer_scale_init_value=config['layer_scale'],
        ),
        neck=dict(
            type='mmcae.CAENeck',
            num_classes=config['vocab_size'],
            embed_dims=decoder,
            num_heads=config['decoder_num_heads'],
            regressor_depth=config['regressor_depth'],
            decoder_depth=config['decoder_depth'],
            layer_scale_init_value=config['layer_scale'],
        ),
        head=dict(
            type='mmcae.CAEHead',
            loss=dict(type='mmcae.CAELoss', lambd=config['align_weight']),
        ),
        **kwargs,
    )


def samples_with(mask: Tensor) -> list:
    """Return a data sample for each row of a mask."""
    from mmpretrain.structures import DataSample

    return [DataSample().set_mask(row) for row in mask.to(torch.bool)]
