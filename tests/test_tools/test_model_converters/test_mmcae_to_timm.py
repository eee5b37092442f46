# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert to timm, whose own model gives equal outputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.recordings import Recording, relative_error
from helpers.scripts import load_script
from mmengine.registry import MODELS
from safetensors import safe_open

from mmcae.models import CAEViT
from mmcae.utils import from_official

TOOL = Path(__file__).parents[3] / 'tools/model_converters/mmcae_to_timm.py'
tool = load_script('tools/model_converters/mmcae_to_timm.py')


def run(*args):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, args)], capture_output=True, text=True
    )


def encoder(sizes, **kwargs):
    return CAEViT(
        arch=dict(
            embed_dims=sizes['embed_dim'],
            num_layers=sizes['depth'],
            num_heads=sizes['num_heads'],
            feedforward_channels=4 * sizes['embed_dim'],
        ),
        img_size=sizes['img_size'],
        patch_size=sizes['patch_size'],
        **kwargs,
    ).eval()


def rebuilt(printed):
    """Run the lines that the tool prints."""
    beit = pytest.importorskip('timm.models.beit')
    assert beit.Beit
    names = {}
    exec(printed, names)
    return names['model'].eval()


@pytest.mark.parametrize('suffix', ['safetensors', 'pth'])
def test_tool__finetuned_classifier_gives_the_recorded_logits(
    suffix, tmp_path
):
    recording = Recording('evaluation_tiny')
    source, target = tmp_path / 'ours.pth', tmp_path / f'timm.{suffix}'
    state = from_official(recording.group('finetune/weights'))
    torch.save({'state_dict': state, 'meta': {}}, source)
    result = run(source, target)
    assert result.returncode == 0, result.stderr
    model = rebuilt(result.stdout)
    with torch.no_grad():
        logits = model(recording['inputs/images'])
    reference = recording['finetune/outputs/logits_eval']
    assert relative_error(logits, reference) < 1e-5


@pytest.mark.parametrize('pool', ['token', 'avg'])
def test_tool__encoder_of_an_authors_file(pool, tmp_path):
    recording = Recording('pretrain_tiny')
    weights = recording.group('weights')
    source, target = tmp_path / 'official.pth', tmp_path / 'timm.safetensors'
    torch.save({'model': weights}, source)
    heads = recording.config['num_heads']
    result = run(source, target, '--pool', pool, '--num-heads', heads)
    assert result.returncode == 0, result.stderr
    model = rebuilt(result.stdout)
    state = from_official(weights)
    own = {k[9:]: v for k, v in state.items() if k.startswith('backbone.')}
    images = torch.randn(2, 3, 64, 64)
    for out_type in (
        ('raw', 'cls_token') if pool == 'token' else ('avg_featmap',)
    ):
        ours = encoder(
            recording.config,
            out_type=out_type,
            final_norm=pool == 'token',
            use_rel_pos_bias=False,
        )
        ours.load_state_dict(own)
        with torch.no_grad():
            (expected,) = ours(images)
            features = model.forward_features(images)
            value = features if out_type == 'raw' else model(images)
        assert relative_error(value, expected) < 1e-5


def test_tool__header_has_the_arguments_of_the_model(tmp_path):
    beit = pytest.importorskip('timm.models.beit')
    recording = Recording('evaluation_tiny')
    source, target = tmp_path / 'ft.pth', tmp_path / 'timm.safetensors'
    # A file of the authors' fine-tuning is converted while it is read.
    torch.save({'model': recording.group('finetune/weights')}, source)
    assert run(source, target).returncode == 0
    with safe_open(target, 'pt') as file:
        meta = file.metadata()
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert meta['architecture'] == 'timm.models.beit.Beit'
    model = beit.Beit(**json.loads(meta['timm_args'])).eval()
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        logits = model(recording['inputs/images'])
    reference = recording['finetune/outputs/logits_eval']
    assert relative_error(logits, reference) < 1e-5


def test_convert__full_biases_lose_only_the_bias_of_keys():
    beit = pytest.importorskip('timm.models.beit')
    sizes = Recording('pretrain_tiny').config
    ours = encoder(
        sizes,
        bias=True,
        final_norm=True,
        out_type='raw',
        use_rel_pos_bias=False,
        layer_scale_init_value=None,
    )
    torch.manual_seed(0)
    for parameter in ours.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    state = {f'backbone.{k}': v for k, v in ours.state_dict().items()}
    converted, args = tool.convert(state, num_heads=sizes['num_heads'])
    assert args['init_values'] is None
    model = beit.Beit(**args).eval()
    model.load_state_dict(converted, strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        error = relative_error(model.forward_features(images), ours(images)[0])
    assert error < 1e-5


@pytest.mark.parametrize(
    ('name', 'heads', 'numbers'),
    [('base', 12, 86_682_280), ('large', 16, 304_632_296)],
)
def test_convert__full_size_arguments(name, heads, numbers):
    from mmengine.config import Config

    from mmcae.config.search_path import find_config

    recipe = {
        'base': 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k',
        'large': 'beit-large-p16_cae-pre_8xb64-coslr-50e_in1k',
    }[name]
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(find_config(recipe)).model)
    state, args = tool.convert(model.state_dict())
    assert (args['num_heads'], args['num_classes']) == (heads, 1000)
    assert args['img_size'] == (224, 224)
    assert sum(value.numel() for value in state.values()) == numbers
    beit = pytest.importorskip('timm.models.beit')
    with torch.device('meta'):
        theirs = beit.Beit(**args).state_dict()
    assert {k: v.shape for k, v in theirs.items()} == {
        k: v.shape for k, v in state.items()
    }


def test_convert__refuses_unsupported_checkpoints():
    recording = Recording('evaluation_tiny')
    for kind in ('linear', 'attentive'):
        state = from_official(recording.group(f'{kind}/weights'))
        with pytest.raises(
            ValueError, match=r'timm has no model for .* probe'
        ):
            tool.convert(state)
    weights = Recording('pretrain_tiny').group('weights')
    with pytest.raises(ValueError, match=r'width 32 .*--num-heads'):
        tool.convert(weights)
    with pytest.raises(ValueError, match='5 heads do not divide'):
        tool.convert(weights, num_heads=5)
    with pytest.raises(ValueError, match=r'neither .* conv1\.weight'):
        tool.convert({'conv1.weight': torch.zeros(1)})


def test_tool__refused_file_writes_nothing(tmp_path):
    source, target = tmp_path / 'resnet.pth', tmp_path / 'out.pth'
    torch.save({'state_dict': {'conv1.weight': torch.zeros(1)}}, source)
    result = run(source, target)
    assert result.returncode == 1
    assert 'conv1.weight' in result.stderr
    assert 'Traceback' not in result.stderr
    assert not target.exists()
