"""Conversion between the authors' names and OpenMMLab's."""

import pytest
import torch
from recordings import Recording, cae_config

from mmcae.utils import convert_if_official, from_official, to_official

SIBLING = [
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
    from mmengine.registry import MODELS

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
    sibling = {}
    for key, value in weights.items():
        for old, new in SIBLING:
            if key.startswith(old):
                key = new + key[len(old) :]
                break
        sibling[key] = value
    sibling['rd_pos_embed'] = torch.zeros(1, 17, 32)
    assert not any(key.startswith('pretext_neck') for key in sibling)
    for checkpoint in (
        {'model': weights, 'optimizer': {}, 'epoch': 299},
        {'module.' + key: value for key, value in weights.items()},
        sibling,
        {'model': sibling},
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
