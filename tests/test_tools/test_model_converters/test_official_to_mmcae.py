# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert the authors' checkpoints, by the tool and while loading."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.recordings import Recording, cae_config
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file

from mmcae.utils import from_official

TOOL = Path(__file__).parents[3] / 'tools/model_converters'


@pytest.fixture
def recording():
    return Recording('pretrain_tiny')


@pytest.fixture
def official_file(recording, tmp_path):
    path = tmp_path / 'official.pth'
    weights = recording.group('weights')
    kept = {k: v for k, v in weights.items() if k[:8] != 'teacher.'}
    torch.save({'model': kept, 'epoch': 299}, path)
    return path


def run(*args):
    return subprocess.run(
        [sys.executable, TOOL / 'official_to_mmcae.py', *map(str, args)],
        capture_output=True,
        text=True,
    )


def test_tool__round_trip_keeps_the_tensors(
    official_file, recording, tmp_path
):
    ours, back = tmp_path / 'ours.safetensors', tmp_path / 'back.pth'
    result = run(official_file, ours)
    assert result.returncode == 0, result.stderr
    expected = from_official(recording.group('weights'))
    state = load_file(ours)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[k], expected[k]) for k in state)
    assert run('--reverse', ours, back).returncode == 0
    source = torch.load(official_file)['model']
    written = torch.load(back)['model']
    assert source.keys() == written.keys()
    assert all(torch.equal(source[k], written[k]) for k in source)


def test_tool__refusal_names_the_keys_of_the_file(tmp_path):
    source, target = tmp_path / 'resnet.pth', tmp_path / 'out.pth'
    torch.save({'state_dict': {'conv1.weight': torch.zeros(1)}}, source)
    result = run(source, target)
    assert result.returncode == 1
    assert 'conv1.weight' in result.stderr
    assert 'Traceback' not in result.stderr
    assert not target.exists()


def test_load_checkpoint__converts_on_the_fly(official_file, recording):
    model = MODELS.build(cae_config(recording.config))
    load_checkpoint(model, str(official_file), strict=True)
    expected = from_official(recording.group('weights'))
    state = model.state_dict()
    assert all(torch.equal(state[k], expected[k]) for k in expected)


def test_pretrained__encoder_starts_from_an_authors_file(
    official_file, recording
):
    config = cae_config(recording.config)['backbone']
    config.update(type='mmcae.CAEViT', use_rel_pos_bias=False)
    config['init_cfg'] = dict(
        type='Pretrained', checkpoint=str(official_file), prefix='backbone.'
    )
    encoder = MODELS.build(config)
    encoder.init_weights()
    weights = recording.group('weights')
    assert torch.equal(encoder.ln2.weight, weights['encoder.norm.weight'])
    assert torch.equal(
        encoder.layers[1].attn.qkv.weight,
        weights['encoder.blocks.1.attn.qkv.weight'],
    )
