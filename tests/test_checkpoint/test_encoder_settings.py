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


@pytest.fixture
def four_channels(tmp_path):
    """A checkpoint whose encoder reads four channels."""
    path = write_checkpoints(tmp_path)
    content = torch.load(path, weights_only=False)
    name = 'backbone.patch_embed.projection.weight'
    kernel = content['state_dict'][name]
    content['state_dict'][name] = torch.cat([kernel, kernel[:, :1]], dim=1)
    content['meta']['cfg'] = """
model = dict(
    backbone=dict(arch=dict(num_heads=2)),
    data_preprocessor=dict(mean=[10.0, 20.0, 30.0, 40.0], std=[51.0] * 4))
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='mmcae.LoadImage', channels=4, value_range=((0.0, 4095.0), ))]))
""".replace('[51.0] * 4', '[51.0, 51.0, 51.0, 51.0]')
    torch.save(content, path)
    return path


def test_settings__other_channels_are_refused_where_rgb_is_needed(
    four_channels,
):
    with pytest.raises(ValueError, match='reads 4 channels'):
        encoder_settings(four_channels)


def test_settings__of_other_channels(four_channels):
    found = encoder_settings(four_channels, any_channels=True)
    assert found.channels == 4
    assert found.mean == pytest.approx((10.0, 20.0, 30.0, 40.0), abs=1e-3)
    assert found.std == pytest.approx((51.0,) * 4, abs=1e-3)
    assert found.value_range == ((0.0, 4095.0),)


def test_settings__of_other_channels_need_their_normalization(four_channels):
    content = torch.load(four_channels, weights_only=False)
    content['meta']['cfg'] = content['meta']['cfg'].replace('10.0, ', '')
    torch.save(content, four_channels)
    with pytest.raises(ValueError, match='how its 4 channels are normalized'):
        encoder_settings(four_channels, any_channels=True)


def test_out_indices__are_the_authors():
    tiny = USUAL['tiny']
    assert tiny.out_indices == (0, 1, 2, 3)
    assert replace(tiny, num_layers=12).out_indices == (3, 5, 7, 11)
    assert replace(tiny, num_layers=24).out_indices == (7, 11, 15, 23)
    assert replace(tiny, num_layers=2).out_indices == (0, 1, 1, 1)
