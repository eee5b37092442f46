# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The authors' tensor names and OpenMMLab's, in both directions."""

import pytest
import torch
from helpers.recordings import Recording, cae_config, relative_error
from mmengine.registry import MODELS, init_default_scope

from mmcae.checkpoint.official import is_official
from mmcae.utils import (
    convert_if_official,
    from_official,
    load_config,
    to_official,
)

REFACTORED = [
    ('pretext_neck.regressor_blocks.', 'regresser.regressor_blocks.'),
    ('pretext_neck.decoder_blocks.', 'decoder.decoder_blocks.'),
    ('pretext_neck.norm2.', 'decoder.norm.'),
    ('pretext_neck.norm.', 'regresser.norm.'),
    ('pretext_neck.head.', 'decoder.head.'),
    ('encoder_to_decoder.', 'encoder_to_regresser.'),
    ('encoder_to_decoder_norm.', 'encoder_to_regresser_norm.'),
    ('teacher.', 'alignment_encoder.'),
]


@pytest.fixture(params=['pretrain_tiny', 'pretrain_projected'])
def recording(request):
    return Recording(request.param)


def same(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_from_official__fills_the_model_exactly(recording):
    model = MODELS.build(cae_config(recording.config))
    state = from_official(recording.group('weights'))
    assert state.keys() == model.state_dict().keys()
    model.load_state_dict(state, strict=True)


def test_to_official__is_the_inverse(recording):
    weights = recording.group('weights')
    released = {k: v for k, v in weights.items() if k[:8] != 'teacher.'}
    same(to_official(from_official(weights)), released)


def test_from_official__reads_every_scheme(recording):
    weights = recording.group('weights')
    expected = from_official(weights)
    refactored = {}
    for key, value in weights.items():
        for old, new in REFACTORED:
            if key.startswith(old):
                key = new + key[len(old) :]
                break
        refactored[key] = value
    refactored['rd_pos_embed'] = torch.zeros(1, 17, 32)
    assert not any(key.startswith('pretext_neck') for key in refactored)
    for checkpoint in (
        {'model': weights, 'optimizer': {}, 'epoch': 299},
        {'module.' + key: value for key, value in weights.items()},
        refactored,
        {'model': refactored},
    ):
        same(from_official(checkpoint), expected)


def test_from_official__encoder_only(recording):
    weights = recording.group('weights')
    kept = {
        k: v
        for k, v in weights.items()
        if k.startswith('encoder.') or k == 'mask_token'
    }
    expected = from_official(weights)
    state = from_official({'model': kept})
    assert set(state) == {
        key
        for key in expected
        if key.startswith('backbone.') or key == 'neck.mask_token'
    }


def test_from_official__a_foreign_file_is_refused_by_its_keys():
    foreign = {'conv1.weight': torch.zeros(1), 'fc.bias': torch.zeros(1)}
    with pytest.raises(ValueError, match=r'2 unknown of 2 .*conv1\.weight'):
        from_official(foreign)
    with pytest.raises(ValueError, match='no keys at all'):
        from_official({})


def test_to_official__refuses_foreign_keys_and_drops_old_norms(recording):
    state = from_official(recording.group('weights'))
    expected = to_official(state)
    state['backbone.ln2.weight'] = torch.zeros(32)
    state['teacher.cls_token'] = torch.zeros(1)
    state['target_generator.blocks.input.w'] = torch.zeros(1)
    same(to_official({'state_dict': state}), expected)
    with pytest.raises(ValueError, match=r'neck\.extra'):
        to_official({**state, 'neck.extra': torch.zeros(1)})


def test_convert_if_official__leaves_others_alone(recording):
    weights = recording.group('weights')
    converted = convert_if_official({'model': weights})
    same(converted['state_dict'], from_official(weights))
    ours = {'state_dict': converted['state_dict'], 'meta': {}}
    assert convert_if_official(ours) is ours
    mae = {'model': {'blocks.0.attn.qkv.weight': torch.zeros(1)}}
    assert convert_if_official(mae) is mae


EVALUATIONS = ['finetune', 'linear', 'attentive']


def evaluation_weights(kind):
    weights = Recording('evaluation_tiny').group(f'{kind}/weights')
    unused = 'attentive_blocks.0.norm2_cross.'
    return {k: v for k, v in weights.items() if not k.startswith(unused)}


@pytest.mark.parametrize('kind', EVALUATIONS)
def test_from_official__reads_the_evaluations_checkpoints(kind):
    recording = Recording('evaluation_tiny')
    whole = recording.group(f'{kind}/weights')
    weights = evaluation_weights(kind)
    state = from_official({'model': whole, 'epoch': 99})
    assert len(state) == len(weights)
    assert all(
        key.startswith(('backbone.', 'neck.', 'head.')) for key in state
    )
    norm = 'fc_norm' if kind == 'finetune' else 'norm'
    expected = {
        f'backbone.ln{2 if kind == "finetune" else 1}.weight': norm,
        'head.fc.weight': 'head.1' if kind == 'linear' else 'head',
    }
    for ours, theirs in expected.items():
        assert torch.equal(state[ours], weights[theirs + '.weight'])
    same(to_official({'state_dict': state}), weights)
    parallel = {'module.' + key: value for key, value in whole.items()}
    for checkpoint in ({'model': whole}, parallel):
        assert is_official(checkpoint)
        same(convert_if_official(checkpoint)['state_dict'], state)


def test_from_official__names_of_the_probes():
    linear = from_official(evaluation_weights('linear'))
    assert {k for k in linear if not k.startswith('backbone.')} == {
        'neck.bn.running_mean',
        'neck.bn.running_var',
        'neck.bn.num_batches_tracked',
        'head.fc.weight',
        'head.fc.bias',
    }
    attentive = from_official(evaluation_weights('attentive'))
    names = {k.split('.')[1] for k in attentive if k.startswith('head.')}
    assert names == {
        *('query_token', 'norm_q', 'norm_k', 'norm_v'),
        *('cross_attn', 'bn', 'fc'),
    }


def test_from_official__other_classifiers_are_refused():
    weights = evaluation_weights('finetune')
    mae = {
        k.replace('q_bias', 'qkv.bias'): v
        for k, v in weights.items()
        if 'v_bias' not in k
    }
    assert not is_official(mae)
    with pytest.raises(ValueError, match=r'unknown of .* keys: blocks\.0'):
        from_official(mae)
    beit = {k: v for k, v in weights.items() if k != 'pos_embed'}
    assert convert_if_official(beit) is beit
    with pytest.raises(ValueError, match=r'extra\.weight'):
        from_official({**weights, 'extra.weight': torch.zeros(1)})
    state = from_official(weights)
    with pytest.raises(ValueError, match=r'1 unknown of .*neck\.extra'):
        to_official({**state, 'neck.extra': torch.zeros(1)})


def test_from_official__linear_probe_gives_the_recorded_logits():
    recording = Recording('evaluation_tiny')
    sizes = recording.config
    dims = sizes['embed_dim']
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(
                type='mmcae.CAEViT',
                arch=dict(
                    embed_dims=dims,
                    num_layers=sizes['depth'],
                    num_heads=sizes['num_heads'],
                    feedforward_channels=4 * dims,
                ),
                img_size=sizes['img_size'],
                patch_size=sizes['patch_size'],
                out_type='cls_token',
                final_norm=True,
                use_rel_pos_bias=False,
            ),
            neck=dict(
                type='mmpretrain.ClsBatchNormNeck',
                input_features=dims,
                eps=1e-6,
            ),
            head=dict(
                type='mmpretrain.LinearClsHead',
                num_classes=sizes['num_classes'],
                in_channels=dims,
            ),
        )
    )
    state = from_official(recording.group('linear/weights'))
    model.load_state_dict(state, strict=True)
    logits = model.eval()(recording['inputs/images'])
    reference = recording['linear/outputs/logits_eval']
    assert relative_error(logits, reference) < 1e-5


# --- segmentation ----------------------------------------------------------

# Ours -> the authors', where the pyramid is a part of the encoder.
SEGMENTOR_NAMES = {
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
def segmentor():
    pytest.importorskip('mmseg')
    config = load_config('upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px')
    config.model.neck.patch_size = 16
    init_default_scope('mmseg')
    return MODELS.build(config.model).state_dict()


def test_to_official__names_of_a_segmentor(segmentor):
    theirs = to_official(segmentor)
    assert len(theirs) == len(segmentor)
    for ours, name in SEGMENTOR_NAMES.items():
        assert torch.equal(theirs[name], segmentor[ours])


def test_from_official__reads_a_segmentor(segmentor):
    checkpoint = dict(
        meta=dict(CLASSES=('wall',), PALETTE=[[1, 2, 3]], config='a text'),
        state_dict=to_official(segmentor),
    )
    state = from_official(checkpoint)
    assert state.keys() == segmentor.keys()
    assert all(torch.equal(state[key], segmentor[key]) for key in state)
    converted = convert_if_official(checkpoint)
    assert converted['state_dict'].keys() == segmentor.keys()
    assert converted['meta'] == dict(CLASSES=('wall',), PALETTE=[[1, 2, 3]])


def test_convert__leaves_our_segmentor(segmentor):
    checkpoint = dict(state_dict=segmentor)
    assert convert_if_official(checkpoint) is checkpoint
