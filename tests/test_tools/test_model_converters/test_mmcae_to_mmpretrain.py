# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert to mmpretrain, whose own classes give equal outputs."""

import subprocess
import sys

import pytest
import torch
from helpers.classifiers import classifier_config, encoder_config
from helpers.converters import TOOLS, load_tool, run_tool
from helpers.recordings import Recording, relative_error
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

from mmcae.utils import from_official

tool = load_tool('mmcae_to_mmpretrain')


def run(*args):
    return run_tool('mmcae_to_mmpretrain', *args)


def rebuilt(printed):
    """Build the model that the tool prints, with mmpretrain's classes."""
    config = Config.fromstring(printed, '.py')
    model = MMPRETRAIN_MODELS.build(config.model)
    assert type(model.backbone).__name__ == 'BEiTViT'
    load_checkpoint(model, config.load_from, strict=True)
    return model.eval()


def outputs(model, images):
    with torch.no_grad():
        return model(images) if model.head else model.extract_feat(images)[0]


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize('kind', ['finetune', 'linear'])
def test_tool__classifier_gives_the_recorded_logits(kind, suffix, tmp_path):
    recording = Recording('evaluation_tiny')
    source, target = tmp_path / 'official.pth', tmp_path / f'mm.{suffix}'
    torch.save({'model': recording.group(f'{kind}/weights')}, source)
    heads = recording.config['num_heads']
    printed = run(source, target, '--num-heads', heads)
    images = recording['inputs/images']
    logits = outputs(rebuilt(printed), images)
    reference = recording[f'{kind}/outputs/logits_eval']
    assert relative_error(logits, reference) < 1e-5
    # mmcae reads the file as well.
    ours = MODELS.build(classifier_config(kind, recording.config)).eval()
    load_checkpoint(ours, str(target), strict=True)
    assert relative_error(outputs(ours, images), reference) < 1e-5


@pytest.mark.parametrize('pool', ['avg', 'token'])
def test_tool__encoder_of_pretraining(pool, tmp_path):
    recording = Recording('pretrain_tiny')
    sizes = recording.config
    source, target = tmp_path / 'ours.pth', tmp_path / 'mm.pth'
    state = from_official(recording.group('weights'))
    # OpenMMLab's files have a norm of the mean token that was never used.
    state['backbone.ln2.weight'] = torch.full((32,), 9.0)
    state['backbone.ln2.bias'] = torch.full((32,), 9.0)
    torch.save({'state_dict': state}, source)
    heads = sizes['num_heads']
    printed = run(source, target, '--pool', pool, '--num-heads', heads)
    assert 'dropped: ' in printed
    images = torch.randn(2, 3, 64, 64)
    features = outputs(rebuilt(printed), images)
    config = encoder_config(
        sizes,
        out_type='avg_featmap' if pool == 'avg' else 'cls_token',
        final_norm=pool == 'token',
        use_rel_pos_bias=False,
    )
    for file in (source, target):
        config['init_cfg'] = dict(
            type='Pretrained', checkpoint=str(file), prefix='backbone.'
        )
        ours = MODELS.build(config).eval()
        ours.init_weights()
        with torch.no_grad():
            assert relative_error(features, ours(images)[0]) < 1e-5


def test_convert__shared_tables_and_full_biases():
    sizes = Recording('evaluation_tiny').config
    config = classifier_config('finetune', sizes, bias=True)
    # Only mmpretrain's encoder can share a table; the names are the same.
    config['backbone'].update(
        type='mmpretrain.BEiTViT',
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
        layer_scale_init_value=0,
    )
    torch.manual_seed(0)
    ours = MODELS.build(config).eval()
    for parameter in ours.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    state, theirs = tool.convert(ours.state_dict())
    model = MMPRETRAIN_MODELS.build(theirs).eval()
    model.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 64, 64)
    error = relative_error(outputs(model, images), outputs(ours, images))
    assert error < 1e-5


@pytest.mark.parametrize('name', ['base', 'large'])
def test_convert__full_sizes_have_names(name):
    from mmcae.config.search_path import find_config

    recipe = {
        'base': 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k',
        'large': 'beit-large-p16_cae-pre_8xb64-coslr-50e_in1k',
    }[name]
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(find_config(recipe)).model)
        state, config = tool.convert(model.state_dict())
        theirs = MMPRETRAIN_MODELS.build(config).state_dict()
    assert config['backbone']['arch'] == name
    assert {k: v.shape for k, v in theirs.items()} == {
        k: v.shape for k, v in state.items()
    }


def test_convert__refuses_unsupported_checkpoints():
    attentive = Recording('evaluation_tiny').group('attentive/weights')
    with pytest.raises(ValueError, match=r'no model for an attentive probe'):
        tool.convert(from_official(attentive))
    with pytest.raises(ValueError, match=r'width 32 .*--num-heads'):
        tool.convert(Recording('pretrain_tiny').group('weights'))
    with pytest.raises(ValueError, match=r'neither .* conv1\.weight'):
        tool.convert({'conv1.weight': torch.zeros(1)})
    with pytest.raises(
        ValueError, match=r'no model with the tensors neck\.fpn\.w'
    ):
        tool.convert(
            {'head.fc.weight': torch.zeros(1), 'neck.fpn.w': torch.zeros(1)}
        )


def test_tool__refuses_to_overwrite_its_source(tmp_path):
    source = tmp_path / 'a.pth'
    source.write_bytes(b'weights')
    result = subprocess.run(
        [sys.executable, TOOLS / 'mmcae_to_mmpretrain.py', source, source],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert 'is the source' in result.stderr
    assert source.read_bytes() == b'weights'
