# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Exchange checkpoints with other packages: outputs and tensors stay equal."""

import pytest
import torch
from helpers.classifiers import EVALUATIONS, classifier_config, encoder_config
from helpers.converters import run_tool
from helpers.recordings import TINY, Recording, cae_config, relative_error
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from safetensors.torch import save_file


def save(state, path):
    if path.suffix == '.safetensors':
        save_file({k: v.clone() for k, v in state.items()}, path)
    else:
        torch.save({'state_dict': state, 'meta': {'epoch': 300}}, path)


def randomize(model):
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if not name.endswith('pos_embed'):
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture
def theirs():
    """Build mmpretrain's CAE with the positions of its ``init_weights``."""
    config = cae_config(TINY)
    for part in (config, config['backbone'], config['neck'], config['head']):
        part['type'] = part['type'].replace('mmcae.', 'mmpretrain.')
    config['neck']['mask_tokens_num'] = 8
    config['head']['loss']['type'] = 'mmpretrain.CAELoss'
    model = MMPRETRAIN_MODELS.build(config)
    ours = MODELS.build(cae_config(TINY))
    for encoder in (model.backbone, model.teacher):
        encoder.pos_embed.data.copy_(ours.backbone.pos_embed)
    return randomize(model)


@pytest.fixture(params=['.pth', '.safetensors'])
def published(theirs, request, tmp_path):
    """Write a file with everything that mmpretrain's training saves."""
    state = dict(theirs.state_dict())
    assert any(key.startswith('teacher.') for key in state)
    state['target_generator.blocks.input.w'] = torch.zeros(3)
    for prefix in ('backbone', 'teacher'):
        state[f'{prefix}.ln2.weight'] = torch.full((32,), 9.0)
        state[f'{prefix}.ln2.bias'] = torch.full((32,), 9.0)
    path = tmp_path / ('theirs' + request.param)
    save(state, path)
    return str(path)


def test_mmpretrain__pretraining_model(theirs, published):
    ours = MODELS.build(cae_config(TINY)).eval()
    load_checkpoint(ours, published, strict=True)
    images = torch.randn(2, 3, 64, 64)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, ::2] = True
    with torch.no_grad():
        visible = ours.backbone(images, mask)
        expected = theirs.backbone(images, mask)
        assert relative_error(visible, expected) < 1e-5
        latent = ours.neck.regress(visible[:, 1:], mask, (4, 4))
        logits = ours.neck.decode(latent, mask, (4, 4))
        position = theirs.backbone.pos_embed[:, 1:].expand(2, -1, -1)
        their_logits, their_latent = theirs.neck(
            expected[:, 1:],
            position[mask].view(2, 8, -1),
            position[~mask].view(2, 8, -1),
        )
    assert relative_error(latent, their_latent.view_as(latent)) < 1e-5
    assert relative_error(logits, their_logits.view_as(logits)) < 1e-5


@pytest.mark.parametrize('kind', EVALUATIONS)
def test_mmpretrain__encoder_in_evaluations(theirs, published, kind):
    model = MODELS.build(classifier_config(kind, TINY))
    model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=published, prefix='backbone.'
    )
    model.backbone.init_weights()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        value = model.eval().backbone(images)[0]
        tokens = theirs.backbone(images, None)[0]
    if kind == 'finetune':
        # Their final norm is that of the mean token, not the unused one.
        assert torch.equal(
            model.backbone.ln2.weight, theirs.backbone.ln1.weight
        )
    else:
        expected = tokens if kind == 'attentive' else tokens[:, 0]
        assert relative_error(value, expected) < 1e-5


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kind', EVALUATIONS)
def test_authors__evaluation_files(kind, suffix, tmp_path):
    recording = Recording('evaluation_tiny')
    path = tmp_path / ('official' + suffix)
    weights = recording.group(f'{kind}/weights')
    if suffix == '.pth':
        torch.save({'model': weights, 'epoch': 99}, path)
    else:
        save(weights, path)
    model = MODELS.build(classifier_config(kind, recording.config)).eval()
    load_checkpoint(model, str(path), strict=True)
    with torch.no_grad():
        logits = model(recording['inputs/images'])
    reference = recording[f'{kind}/outputs/logits_eval']
    assert relative_error(logits, reference) < 1e-5


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_round_trip__pretraining_over_the_authors_names(suffix, tmp_path):
    model = randomize(MODELS.build(cae_config(TINY)))
    names = [tmp_path / f'{name}{suffix}' for name in 'abc']
    save(model.state_dict(), names[0])
    printed = run_tool('official_to_mmcae', '--reverse', *names[:2])
    for part in ('backbone.* (36)', 'neck.* (43)', 'pretext_neck.* (42)'):
        assert part in printed
    run_tool('official_to_mmcae', *names[1:])
    state = model.state_dict()
    for name in names:  # the second one is converted while loading
        again = MODELS.build(cae_config(TINY))
        load_checkpoint(again, str(name), strict=True)
        found = again.state_dict()
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize('kind', ['finetune', 'linear'])
def test_round_trip__training_in_mmpretrain(kind, tmp_path):
    """Our classes give the outputs of a classifier that mmpretrain trained."""
    config = classifier_config(kind, TINY, use_abs_pos_emb=True)
    config['backbone']['type'] = 'mmpretrain.BEiTViT'
    theirs = randomize(MMPRETRAIN_MODELS.build(config))
    torch.nn.init.normal_(theirs.backbone.pos_embed)
    path = tmp_path / 'theirs.pth'
    save(theirs.state_dict(), path)
    ours = MODELS.build(classifier_config(kind, TINY)).eval()
    load_checkpoint(ours, str(path), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(ours(images), theirs(images)) < 1e-5


def test_dense__published_encoder_at_a_larger_size(published):
    config = encoder_config(TINY, out_type='featmap', img_size=96)
    config['init_cfg'] = dict(
        type='Pretrained', checkpoint=published, prefix='backbone.'
    )
    vit = MODELS.build(config)
    vit.init_weights()
    assert vit(torch.randn(1, 3, 96, 96))[0].shape == (1, 32, 6, 6)
