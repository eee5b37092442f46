# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The metadata of written files, also after reading them back."""

import json

import numpy as np
import pytest
import torch
from helpers.classifiers import classifier_config
from helpers.converters import run_tool
from helpers.recordings import TINY, Recording, cae_config
from mmengine.config import Config
from mmengine.registry import MODELS
from safetensors import safe_open

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.file_header import finished_epochs, kind_of
from mmcae.checkpoint.official import from_official
from mmcae.checkpoint.reading import (
    read_checkpoint,
    sha256_of,
    write_weights,
)
from mmcae.version import __version__

ARCH = dict(
    embed_dims=32,
    num_layers=3,
    num_heads=4,
    feedforward_channels=128,
    img_size=[64, 64],
    patch_size=[16, 16],
)


def header(path):
    with safe_open(path, 'pt') as file:
        return file.metadata()


@pytest.fixture
def official(tmp_path):
    path = tmp_path / 'official.pth'
    weights = Recording('evaluation_tiny').group('finetune/weights')
    torch.save({'model': weights, 'epoch': 99}, path)
    return path


TOOLS = {
    'official_to_mmcae': ('mmcae', ()),
    'mmcae_to_mmpretrain': ('mmpretrain', ()),
    'mmcae_to_timm': ('timm', ()),
    'publish_model': ('mmcae', ()),
}


@pytest.mark.parametrize('tool', TOOLS)
def test_header__of_every_converter(tool, official, tmp_path):
    names, args = TOOLS[tool]
    run_tool(tool, *args, official, tmp_path / 'out.safetensors')
    (path,) = tmp_path.glob('out*.safetensors')
    found = header(path)
    assert all(isinstance(value, str) for value in found.values())
    assert json.loads(found.pop('arch')) == ARCH
    expected = dict(
        format='pt',
        header_version='1',
        mmcae_version=__version__,
        model='fine-tuned classifier',
        tensor_names=names,
        source='official.pth',
        source_sha256=sha256_of(official),
        epoch='100',
    )
    assert found.items() >= expected.items()
    meta = read_checkpoint(path)['meta']
    assert meta['epoch'] == 100
    assert meta['arch'] == ARCH


def test_header__of_the_authors_names(tmp_path):
    state = MODELS.build(cae_config(TINY)).state_dict()
    source, target = tmp_path / 'ours.pth', tmp_path / 'theirs.safetensors'
    torch.save({'state_dict': state, 'meta': {'epoch': 7}}, source)
    run_tool('official_to_mmcae', '--reverse', source, target)
    found = header(target)
    assert found['tensor_names'] == 'authors'
    assert found['model'] == 'pretraining model'
    assert found['epoch'] == '7'
    # No tensor depends on the number of heads, and the authors have no encoder
    # of width 32.
    assert 'arch' not in found


def test_write_weights__both_formats_give_the_same_back(tmp_path):
    palette = np.arange(6, dtype=np.uint8).reshape(2, 3)
    meta = dict(
        epoch=3,
        dataset_meta=dict(classes=['a', 'b'], palette=palette),
        source='12.pth',
    )
    for suffix in ('.pth', '.safetensors'):
        write_weights({'w': torch.ones(2)}, tmp_path / f'w{suffix}', meta)
        found = read_checkpoint(tmp_path / f'w{suffix}')['meta']
        assert found['epoch'] == 3
        assert found['source'] == '12.pth'
        assert found['dataset_meta']['classes'] == ['a', 'b']
        found = np.asarray(found['dataset_meta']['palette'])
        np.testing.assert_array_equal(found, palette)


def test_read_checkpoint__keeps_metadata_of_other_programs(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / 'w.safetensors'
    save_file({'w': torch.ones(1)}, path, {'epoch': 'last', 'note': '5'})
    assert read_checkpoint(path)['meta'] == {'epoch': 'last', 'note': '5'}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_write_weights__a_view_is_saved_without_the_rest(suffix, tmp_path):
    whole = torch.randn(3, 10_000)
    path = tmp_path / f'w{suffix}'
    write_weights({'a': whole[0], 'b': whole[2]}, path)
    assert path.stat().st_size < 2.2 * 40_000
    assert torch.equal(read_checkpoint(path)['state_dict']['b'], whole[2])


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_published__classes_reach_the_model(suffix, official, tmp_path):
    from mmpretrain import get_model

    state = from_official(read_checkpoint(official))
    source = tmp_path / 'epoch_3.pth'
    meta = dict(epoch=3, dataset_meta=dict(classes=['cat', 'dog']))
    torch.save(dict(state_dict=state, meta=meta), source)
    run_tool('publish_model', source, tmp_path / f'cae{suffix}')
    (path,) = tmp_path.glob(f'cae-*{suffix}')
    config = classifier_config('finetune', Recording('evaluation_tiny').config)
    model = get_model(Config(dict(model=config)), pretrained=str(path))
    assert model._dataset_meta['classes'] == ['cat', 'dog']


def test_kind_of__describes_the_model_in_words():
    recording = Recording('evaluation_tiny')
    for kind, words in (
        ('finetune', 'fine-tuned classifier'),
        ('linear', 'linear probe'),
        ('attentive', 'attentive probe'),
    ):
        state = from_official(recording.group(f'{kind}/weights'))
        assert kind_of(state) == words
    assert kind_of({'backbone.w': 0, 'neck.mask_token': 0}) == 'encoder'
    assert kind_of({'roi_head.w': 0}) == 'model with a CAE encoder'


def test_finished_epochs__counts_from_one():
    assert finished_epochs({'epoch': 299}) == 300
    assert finished_epochs({'meta': {'epoch': 300}, 'epoch': 5}) == 300
    assert finished_epochs({'meta': {}}) is None


def test_encoder_args__rebuild_the_encoder():
    state = from_official(
        Recording('evaluation_tiny').group('finetune/weights')
    )
    args = encoder_args(state)
    vit = MODELS.build(dict(type='mmcae.CAEViT', **args))
    own = {k[9:]: v for k, v in state.items() if k.startswith('backbone.')}
    vit.load_state_dict(own, strict=True)
    with pytest.raises(ValueError, match=r'no CAE encoder .* 1 tensors: w'):
        encoder_args({'w': torch.zeros(1)})
    del state['backbone.pos_embed']
    del state['backbone.layers.0.attn.relative_position_bias_table']
    with pytest.raises(ValueError, match='image size is unknown'):
        encoder_args(state)
