# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Sizes and normalization of an encoder, from its checkpoint alone."""

from dataclasses import replace

import pytest
import torch
from helpers.tiny_checkpoint import write_checkpoints

from mmcae.checkpoint.encoder_settings import USUAL, encoder_settings

PACKAGED = 'mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px'


def test_settings__are_those_of_the_config(tmp_path):
    path = write_checkpoints(tmp_path)
    found = encoder_settings(path)
    assert found.arch == dict(
        embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256
    )
    assert (found.image_size, found.patch_size) == (32, 8)
    assert found.mean == pytest.approx((76.5,) * 3)
    assert found.std == pytest.approx((89.25,) * 3)
    assert found.is_recorded


def test_settings__packaged_weights_name_their_recipe():
    found = encoder_settings(PACKAGED)
    assert (found.width, found.num_heads) == (64, 2)
    assert found.mean == pytest.approx((76.5,) * 3)


def test_settings__without_a_normalization_are_imagenets(tmp_path):
    path = write_checkpoints(tmp_path)
    content = torch.load(path, weights_only=False)
    content['meta']['cfg'] = content['meta']['cfg'].replace('mean=', 'm=')
    torch.save(content, path)
    found = encoder_settings(path)
    assert not found.is_recorded
    assert found.mean == pytest.approx((123.675, 116.28, 103.53))


def test_settings__of_no_file(tmp_path):
    assert encoder_settings(tmp_path / 'x', otherwise='small').width == 384
    with pytest.raises(FileNotFoundError):
        encoder_settings(tmp_path / 'x')


def test_settings__other_channels_are_refused(tmp_path):
    path = write_checkpoints(tmp_path)
    content = torch.load(path, weights_only=False)
    name = 'backbone.patch_embed.projection.weight'
    kernel = content['state_dict'][name]
    content['state_dict'][name] = torch.cat([kernel, kernel[:, :1]], dim=1)
    torch.save(content, path)
    with pytest.raises(ValueError, match='reads 4 channels'):
        encoder_settings(path)


def test_out_indices__are_the_authors():
    tiny = USUAL['tiny']
    assert tiny.out_indices == (0, 1, 2, 3)
    assert replace(tiny, num_layers=12).out_indices == (3, 5, 7, 11)
    assert replace(tiny, num_layers=24).out_indices == (7, 11, 15, 23)
    assert replace(tiny, num_layers=2).out_indices == (0, 1, 1, 1)
