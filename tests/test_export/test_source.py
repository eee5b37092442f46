# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A model is rebuilt from its checkpoint alone, and nothing is executed."""

import pytest
import torch
from helpers.recordings import Recording, relative_error
from helpers.trained import CLASSES, KINDS, outputs_of, write_checkpoint
from mmengine.config import Config

from mmcae.checkpoint.packaged import packaged_weights
from mmcae.config.search_path import find_config
from mmcae.export.portable import make_part
from mmcae.export.source import read_source, source_of_model

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def rebuilt(source, kind):
    if kind == 'pretrain':
        part = make_part(source, 'encoder', 'cls')
        features, patches = part.original(IMAGES)
        return torch.cat([features[:, None], patches], dim=1)
    (logits,) = make_part(source, 'classifier').original(IMAGES)
    return logits


@pytest.mark.parametrize('kind', KINDS)
def test_read_source__computes_what_the_trained_model_does(kind, tmp_path):
    path, model = write_checkpoint(kind, tmp_path)
    source = read_source(path)
    assert torch.equal(rebuilt(source, kind), outputs_of(model, IMAGES))
    assert source.recipe == f'tiny_{kind}'
    assert source.normalization == dict(mean=[0.3] * 3, std=[0.35] * 3)
    assert source.class_names == ([] if kind == 'pretrain' else CLASSES)
    assert source.num_heads == 4
    same = source_of_model(model)
    assert torch.equal(rebuilt(same, kind), outputs_of(model, IMAGES))
    assert same.normalization == source.normalization


@pytest.mark.parametrize('kind', ['finetune', 'linear', 'attentive'])
def test_read_source__authors_files(kind, tmp_path):
    recording = Recording('evaluation_tiny')
    path = tmp_path / 'official.pth'
    torch.save({'model': recording.group(f'{kind}/weights')}, path)
    source = read_source(path, recording.config['num_heads'])
    part = make_part(source, 'classifier')
    (logits,) = part.original(recording['inputs/images'])
    reference = recording[f'{kind}/outputs/logits_eval']
    assert relative_error(logits, reference) < 1e-5


def test_read_source__windows_and_blocks_come_from_the_config(tmp_path):
    path, model = write_checkpoint(
        'finetune', tmp_path, window_size=3, global_indices=[1]
    )
    source = read_source(path)
    windows = [layer.attn.window_size for layer in source.encoder.layers]
    assert windows == [(3, 3), None]
    assert torch.equal(rebuilt(source, 'finetune'), outputs_of(model, IMAGES))


def test_read_source__best_of_a_sweep(tmp_path):
    path, _ = write_checkpoint('linear', tmp_path)
    content = torch.load(path)
    state = content['state_dict']
    for leaf in ('weight', 'bias'):
        value = state.pop(f'head.fc.{leaf}')
        state[f'head.fcs.lr0_1.{leaf}'] = value
        state[f'head.fcs.lr0_2.{leaf}'] = 2 * value
    state['head.accuracy'] = torch.tensor([10.0, 20.0])
    torch.save(content, tmp_path / 'sweep.pth')
    (single,) = make_part(read_source(path), 'classifier').original(IMAGES)
    best = read_source(tmp_path / 'sweep.pth')
    (logits,) = make_part(best, 'classifier').original(IMAGES)
    assert relative_error(logits, 2 * single) < 1e-5


def test_read_source__the_config_names_no_class(tmp_path):
    """A type in the config that would run a program is not even looked at."""
    path, model = write_checkpoint('finetune', tmp_path)
    content = torch.load(path)
    marker = tmp_path / 'executed'
    content['meta']['cfg'] = (
        f'open({str(marker)!r}, "w")\n'
        "model = dict(backbone=dict(type='os.system', "
        f"command='touch {marker}', arch=dict(num_heads=4)), "
        "head=dict(type='os.system'))\n"
    )
    torch.save(content, path)
    source = read_source(path)
    assert not marker.exists()
    assert torch.equal(rebuilt(source, 'finetune'), outputs_of(model, IMAGES))


def test_read_source__says_what_is_missing(tmp_path):
    path, _ = write_checkpoint('pretrain', tmp_path)
    content = torch.load(path)
    bare = tmp_path / 'bare.pth'
    torch.save(content['state_dict'], bare)
    with pytest.raises(ValueError, match='--num-heads'):
        read_source(bare)
    assert read_source(bare, 4).num_heads == 4
    del content['state_dict']['backbone.layers.1.attn.proj.weight']
    torch.save(content, path)
    with pytest.raises(ValueError, match=r'cannot be rebuilt: 1 tensors'):
        read_source(path)


def test_source_of_model__needs_our_encoder():
    with pytest.raises(ValueError, match=r'Linear has no mmcae\.CAEViT'):
        source_of_model(torch.nn.Linear(1, 1))


ENCODERS = [name for name in packaged_weights() if name[:4] != 'dvae']


@pytest.mark.parametrize('name', ENCODERS)
def test_read_source__packaged_weights_need_no_number_of_heads(name):
    source = read_source(f'mmcae://{name}')
    config = Config.fromfile(find_config(name))
    assert source.num_heads == config.model.backbone.arch['num_heads']
