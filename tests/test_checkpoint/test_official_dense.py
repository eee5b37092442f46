# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The authors' segmentors under our names, and back."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

import mmcae  # noqa: F401
from mmcae.utils import (
    convert_if_official,
    from_official,
    load_config,
    to_official,
)

pytest.importorskip('mmseg')

# Ours -> the authors' (their encoder holds the pyramid).
NAMES = {
    'backbone.cls_token': 'backbone.cls_token',
    'backbone.pos_embed': 'backbone.pos_embed',
    'backbone.patch_embed.projection.bias': 'backbone.patch_embed.proj.bias',
    'backbone.layers.3.ln1.weight': 'backbone.blocks.3.norm1.weight',
    'backbone.layers.0.ffn.layers.0.0.bias': 'backbone.blocks.0.mlp.fc1.bias',
    'backbone.layers.1.attn.relative_position_bias_table': (
        'backbone.blocks.1.attn.relative_position_bias_table'
    ),
    'neck.upsample_4x.0.weight': 'backbone.fpn1.0.weight',
    'neck.upsample_4x.1.running_mean': 'backbone.fpn1.1.running_mean',
    'neck.upsample_4x.3.bias': 'backbone.fpn1.3.bias',
    'neck.upsample_2x.0.weight': 'backbone.fpn2.0.weight',
    'decode_head.conv_seg.weight': 'decode_head.conv_seg.weight',
    'auxiliary_head.convs.0.conv.weight': 'auxiliary_head.convs.0.conv.weight',
}


@pytest.fixture
def weights():
    config = load_config('upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px')
    config.model.neck.patch_size = 16
    init_default_scope('mmseg')
    return MODELS.build(config.model).state_dict()


def test_to_official__names_of_a_segmentor(weights):
    theirs = to_official(weights)
    assert len(theirs) == len(weights)
    for ours, name in NAMES.items():
        assert torch.equal(theirs[name], weights[ours])


def test_from_official__reads_a_segmentor(weights):
    checkpoint = dict(
        meta=dict(CLASSES=('wall',), PALETTE=[[1, 2, 3]], config='a text'),
        state_dict=to_official(weights),
    )
    state = from_official(checkpoint)
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[key], weights[key]) for key in state)
    converted = convert_if_official(checkpoint)
    assert converted['state_dict'].keys() == weights.keys()
    assert converted['meta'] == dict(CLASSES=('wall',), PALETTE=[[1, 2, 3]])


def test_convert__leaves_our_segmentor(weights):
    checkpoint = dict(state_dict=weights)
    assert convert_if_official(checkpoint) is checkpoint
