# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Encoders of other libraries start CAE: equal features before training."""

import importlib.util
from pathlib import Path

import pytest
import torch
from helpers import foreign_encoders as foreign
from safetensors.torch import save_file

from mmcae.checkpoint.errors import StartError
from mmcae.checkpoint.official import to_official
from mmcae.checkpoint.start_encoder import read_start
from mmcae.checkpoint.start_from import StartFrom
from mmcae.checkpoint.start_table import (
    FAMILIES,
    REFUSALS,
    family_of,
    markdown,
)
from mmcae.models import CAEPretrainViT, CAEViT

DATA = foreign.DATA
ROOT = Path(__file__).parents[2]


def arch():
    return dict(
        embed_dims=foreign.WIDTH,
        num_layers=foreign.DEPTH,
        num_heads=foreign.HEADS,
        feedforward_channels=2 * foreign.WIDTH,
    )


def started(path, cls=CAEPretrainViT, eps=1e-6, **kwargs):
    """An encoder that starts from a file, as a config would build it."""
    settings = dict(
        arch=arch(),
        img_size=foreign.SIDE,
        patch_size=foreign.PATCH,
        norm_cfg=dict(type='LN', eps=eps),
    )
    init_cfg = dict(
        type='mmcae.StartFrom',
        checkpoint=str(path),
        num_heads=foreign.HEADS,
    )
    encoder = cls(**{**settings, **kwargs}, init_cfg=init_cfg)
    encoder.init_weights()
    return encoder.eval()


def report(path, encoder, **kwargs):
    return StartFrom(str(path), num_heads=foreign.HEADS, **kwargs).load(
        encoder
    )


def features(encoder, images=None):
    with torch.no_grad():
        return encoder(foreign.images() if images is None else images)[-1]


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def saved(model, path, prefix='', **extra):
    state = {prefix + k: v for k, v in model.state_dict().items()}
    torch.save({'state_dict': state, **extra}, path)
    return path


#: Arguments of timm's classes, and the notes that the report must have.
TIMM_VITS = {
    'plain': ({}, 'biases of the keys are dropped'),
    'layer scale': (dict(init_values=0.3), ''),
    'no biases': (dict(qkv_bias=False), 'no biases of queries'),
    'no class position': (dict(no_embed_class=True), 'no position'),
    'no head': (dict(num_classes=0), 'no layer scale'),
}


@pytest.mark.parametrize('name', TIMM_VITS)
def test_start__timm_vit(name, tmp_path):
    kwargs, note = TIMM_VITS[name]
    if name == 'no head':
        kwargs = {**kwargs, 'global_pool': 'token'}
    model = foreign.timm_vit(**_without_classes(kwargs))
    path = tmp_path / 'vit.pth'
    torch.save(model.state_dict(), path)
    encoder = started(path)
    with torch.no_grad():
        theirs = model.forward_features(foreign.images())
    assert relative_error(features(encoder), theirs) < 1e-5
    assert note in str(report(path, encoder))


def _without_classes(kwargs):
    return {k: v for k, v in kwargs.items() if k != 'num_classes'}


def test_start__timm_beit_with_absolute_positions(tmp_path):
    model = foreign.timm_beit(
        use_abs_pos_emb=True, init_values=0.1, global_pool='token'
    )
    path = tmp_path / 'beit.safetensors'
    save_file(model.state_dict(), path)
    with torch.no_grad():
        theirs = model.forward_features(foreign.images())
    assert relative_error(features(started(path)), theirs) < 1e-5


@pytest.mark.parametrize('shared', [False, True])
def test_start__timm_beit_with_relative_positions(shared, tmp_path):
    model = foreign.timm_beit(
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=not shared,
        use_shared_rel_pos_bias=shared,
        global_pool='token',
    )
    path = saved(model, tmp_path / 'beit.pth')
    with pytest.raises(StartError, match='relative position biases, which'):
        started(path)
    encoder = started(
        path, CAEViT, use_rel_pos_bias=True, final_norm=True, out_type='raw'
    )
    with torch.no_grad():
        theirs = model.forward_features(foreign.images())
    assert relative_error(features(encoder), theirs) < 1e-5
    assert not encoder.pos_embed.any()


def test_start__norm_of_the_mean_becomes_the_final_norm(tmp_path):
    model = foreign.timm_vit(global_pool='avg')
    path = saved(model, tmp_path / 'vit.pth')
    encoder = started(path)
    with torch.no_grad():
        theirs = model.fc_norm(model.forward_features(foreign.images()))
    assert relative_error(features(encoder), theirs) < 1e-5
    assert 'norm of the mean patch' in str(report(path, encoder))


MMPRETRAIN = {
    'VisionTransformer': dict(out_type='raw'),
    'VisionTransformer with layer scale': dict(
        out_type='raw', layer_scale_init_value=0.1
    ),
    'MAEViT': dict(mask_ratio=0.0),
    'BEiTViT': dict(
        out_type='raw',
        final_norm=True,
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
    ),
}


@pytest.mark.parametrize('name', MMPRETRAIN)
def test_start__mmpretrain(name, tmp_path):
    kwargs = MMPRETRAIN[name]
    model = foreign.mmpretrain_model(name.split()[0], **kwargs)
    path = saved(model, tmp_path / 'model.pth', 'backbone.')
    with torch.no_grad():
        if name == 'MAEViT':
            theirs = model(foreign.images(), mask=None)[-1]
        else:
            theirs = model(foreign.images())[-1]
    assert relative_error(features(started(path)), theirs) < 1e-5


def test_start__mmpretrain_mae_with_its_decoder_is_an_encoder(tmp_path):
    model = foreign.mmpretrain_model('MAEViT')
    state = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    state['neck.mask_token'] = torch.zeros(1, 1, 4)
    torch.save(dict(state_dict=state), tmp_path / 'mae.pth')
    start = read_start(tmp_path / 'mae.pth', foreign.HEADS)
    assert start.family.name == "mmpretrain's VisionTransformer"
    assert start.neck == {}
    assert 'neck.mask_token' in start.dropped


@pytest.mark.parametrize('kind', foreign.RECORDED)
def test_start__recorded_transformers(kind):
    """The files were written by transformers 5.24."""
    folder = DATA / kind.lower()
    theirs = foreign.recorded_features(kind)
    start = read_start(folder)
    assert start.family.name == f"transformers' {kind}"
    assert start.arch['num_heads'] == foreign.HEADS
    assert start.heads_known
    encoder = started(folder, eps=start.eps)
    assert relative_error(features(encoder), theirs) < 1e-5


@pytest.mark.parametrize('kind', foreign.RECORDED)
def test_start__installed_transformers(kind, tmp_path):
    pytest.importorskip('transformers')
    model = foreign.transformers_model(kind, **foreign.RECORDED[kind])
    model.save_pretrained(tmp_path)
    theirs = foreign.transformers_features(kind, model)
    eps = model.config.layer_norm_eps
    encoder = started(tmp_path, eps=eps)
    assert relative_error(features(encoder), theirs) < 1e-5
    # So do the names in memory, which transformers 5 changed.
    torch.save(model.state_dict(), tmp_path / 'state.bin')
    (tmp_path / 'config.json').unlink()
    encoder = started(tmp_path / 'state.bin', eps=eps)
    assert relative_error(features(encoder), theirs) < 1e-5


def test_start__another_epsilon_is_said():
    encoder = started(DATA / 'vit')
    assert 'norms have eps=1e-12' in str(report(DATA / 'vit', encoder))


@pytest.fixture
def cae(tmp_path):
    """An encoder of CAE, and its file."""
    encoder = CAEPretrainViT(
        arch=arch(), img_size=foreign.SIDE, patch_size=foreign.PATCH
    )
    foreign.randomize(encoder)
    return encoder, saved(encoder, tmp_path / 'cae.pth', 'backbone.')


def test_start__cae_and_its_names_of_the_authors(cae, tmp_path):
    model, path = cae
    assert torch.equal(features(started(path)), features(model))
    state = torch.load(path)['state_dict']
    torch.save({'model': to_official(state)}, tmp_path / 'authors.pth')
    encoder = started(tmp_path / 'authors.pth')
    assert torch.equal(features(encoder), features(model))


@pytest.mark.parametrize('scale', [0.1, 0])
@pytest.mark.parametrize('bias', ['qv_bias', True])
def test_start__encoder_of_another_form(cae, scale, bias):
    model, path = cae
    encoder = started(path, layer_scale_init_value=scale, bias=bias)
    assert relative_error(features(encoder), features(model)) < 1e-5
    assert ('multiplied into' in str(report(path, encoder))) == (scale == 0)


def test_start__another_grid_and_another_patch(cae):
    model, path = cae
    larger = started(path, img_size=2 * foreign.SIDE)
    found = report(path, larger)
    assert found.resized == {'pos_embed': ((1, 10, 8), (1, 37, 8))}
    assert torch.equal(larger.pos_embed[:, 0], model.pos_embed[:, 0])
    # Where each patch is enlarged to twice its size.
    double = started(
        path, img_size=2 * foreign.SIDE, patch_size=2 * foreign.PATCH
    )
    low = foreign.images()
    high = enlarged_patches(low)
    assert relative_error(features(double, high), features(model, low)) < 1e-5
    assert 'resized from 4 to 8 px' in str(report(path, double))


def enlarged_patches(images):
    """Enlarge each patch for itself, so that borders do not mix."""
    size, count = foreign.PATCH, foreign.SIDE // foreign.PATCH
    patches = images.unflatten(2, (count, size)).unflatten(4, (count, size))
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    patches = torch.nn.functional.interpolate(
        patches, scale_factor=2, mode='bicubic', antialias=True
    )
    patches = patches.unflatten(0, (len(images), count, count))
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(num_layers=3), 'has 2 blocks, and this encoder has 3 blocks'),
        (dict(embed_dims=16), 'has 8 channels, and this encoder has 16'),
        (dict(feedforward_channels=8), 'has 16 hidden channels'),
    ],
)
def test_start__another_size_says_both(cae, change, words):
    with pytest.raises(StartError, match=words) as error:
        started(cae[1], arch={**arch(), **change})
    assert 'set model.backbone.arch=dict(num_layers=2' in str(error.value)


def test_start__report_names_everything(tmp_path):
    model = foreign.timm_vit()
    path = tmp_path / 'vit.pth'
    torch.save(model.state_dict(), path)
    encoder = started(path, img_size=2 * foreign.SIDE)
    text = str(report(path, encoder))
    text = text.replace(
        'the file does not say its number of heads: 2, as asked for; ', ''
    )
    assert text.splitlines()[1:] == [
        '  resized: pos_embed (1, 10, 8) -> (1, 37, 8)',
        '  new: layers.{0..1}.{gamma_1,gamma_2} (4)',
        '  dropped: head.* (2)',
        '  note: the biases of the keys are dropped, which changes no output; '
        'it has no layer scale: the scale is one',
    ]
    assert text.splitlines()[0].endswith(
        "(timm's VisionTransformer): 31 matched, 1 resized, 4 new, 2 dropped"
    )


REFUSED = {
    'register tokens': dict(reg_tokens=2),
    'a norm before the first block (CLIP)': dict(pre_norm=True),
    'norms of queries and keys': dict(qk_norm=True),
    'norms inside of attention or feed-forward network': dict(
        scale_attn_norm=True
    ),
    'no class token': dict(class_token=False, global_pool='avg'),
}


@pytest.mark.parametrize('what', REFUSED)
def test_start__refuses_what_it_cannot_express(what, tmp_path):
    path = tmp_path / 'vit.pth'
    torch.save(foreign.timm_vit(**REFUSED[what]).state_dict(), path)
    with pytest.raises(StartError) as error:
        started(path)
    assert f'it has {what}' in str(error.value)


@pytest.mark.parametrize(
    ('name', 'what'),
    [
        ('blocks.0.mlp.w12.weight', 'it has SwiGLU'),
        ('dist_token', 'it has a distillation token'),
        ('blocks.0.strange.weight', 'that a plain vision transformer'),
    ],
)
def test_start__refuses_tensors(name, what, tmp_path):
    state = foreign.timm_vit().state_dict()
    torch.save({**state, name: torch.zeros(8)}, tmp_path / 'vit.pth')
    with pytest.raises(StartError, match=what):
        started(tmp_path / 'vit.pth')


def test_start__refuses_another_activation(tmp_path):
    for path in (DATA / 'vit').iterdir():
        text = path.read_bytes().replace(b'"gelu"', b'"quick_gelu"')
        (tmp_path / path.name).write_bytes(text)
    with pytest.raises(StartError, match="the activation 'quick_gelu'"):
        started(tmp_path)


def test_start__refuses_other_models_and_folders(tmp_path):
    torch.save({'conv.weight': torch.zeros(3)}, tmp_path / 'net.pth')
    with pytest.raises(StartError, match=r'its tensors are conv\.weight'):
        read_start(tmp_path / 'net.pth')
    (tmp_path / 'model.safetensors.index.json').write_text('{}')
    with pytest.raises(StartError, match='a file in several parts'):
        read_start(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_start(tmp_path / 'nothing.pth')


def test_start__number_of_heads(cae, tmp_path):
    with pytest.raises(StartError, match='--num-heads'):
        read_start(cae[1])
    with pytest.raises(StartError, match='has 2 heads, not 4'):
        read_start(DATA / 'vit', 4)
    start = read_start('mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px')
    assert start.arch['num_heads'] == 2
    assert start.neck['head.weight'].shape == (64, 64)
    assert start.family.is_whole


def test_start__images_of_other_channels(cae):
    if importlib.util.find_spec('mmcae.checkpoint.patch_channels') is None:
        with pytest.raises(StartError, match='does not fit this encoder'):
            started(cae[1], in_channels=1)
        return
    model, path = cae
    gray = foreign.images()[:, :1]
    ours = features(started(path, in_channels=1), gray)
    theirs = features(model, gray.expand(-1, 3, -1, -1))
    assert relative_error(ours, theirs) < 1e-5


def test_start__refuses_a_grid_that_is_not_square(tmp_path):
    encoder = CAEPretrainViT(
        arch=arch(), img_size=(12, 8), patch_size=foreign.PATCH
    )
    path = saved(encoder, tmp_path / 'cae.pth', 'backbone.')
    with pytest.raises(StartError, match='not a square grid'):
        started(path)


DIGITS = 'mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px'


def neck(init_cfg, **sizes):
    from mmcae.models import CAENeck

    settings = dict(
        num_classes=64,
        embed_dims=64,
        num_heads=2,
        regressor_depth=1,
        decoder_depth=1,
    )
    made = CAENeck(**{**settings, **sizes}, init_cfg=init_cfg)
    made.init_weights()
    return made


def test_start__whole_cae_of_the_authors(tmp_path):
    ours = read_start(DIGITS)
    state = {f'backbone.{k}': v for k, v in ours.state.items()}
    state |= {f'neck.{k}': v for k, v in ours.neck.items()}
    copy = {'teacher.pos_embed': state['backbone.pos_embed'].clone()}
    torch.save({'model': to_official(state) | copy}, tmp_path / 'cae.pth')
    start = read_start(tmp_path / 'cae.pth', 2)
    assert start.family.name == 'CAE of the authors'
    assert start.dropped == ['teacher.pos_embed']
    for theirs, expected in (
        (start.state, ours.state),
        (start.neck, ours.neck),
    ):
        assert theirs.keys() == expected.keys()
        assert all(torch.equal(theirs[k], expected[k]) for k in theirs)


def test_start__regressor_and_decoder_of_a_whole_cae():
    theirs = read_start(DIGITS).neck
    whole = dict(type='mmcae.StartFrom', checkpoint=DIGITS)
    ours = neck(whole).state_dict()
    assert all(torch.equal(ours[key], theirs[key].float()) for key in theirs)
    # With another tokenizer, the last layer is new.
    made = neck({**whole, 'skip': ['head.']}, num_classes=32)
    found = StartFrom(DIGITS, skip=['head.']).load(made)
    assert sorted(found.new) == ['head.bias', 'head.weight']
    assert sorted(found.dropped) == ['head.bias', 'head.weight']
    with pytest.raises(StartError, match=r'head\.\w+ of the shape'):
        neck(whole, num_classes=32)
    with pytest.raises(StartError, match='an encoder only, and no neck'):
        neck({**whole, 'checkpoint': str(DATA / 'vit'), 'num_heads': 2})


def test_table__a_teacher_is_not_the_encoder():
    names = ['teacher.patch_embed.projection.weight', 'neck.regressors.0.x']
    found = family_of([*names, 'backbone.patch_embed.projection.weight'])
    assert found is not None
    assert found == (FAMILIES[0], 'backbone.')


def test_table__stands_in_the_documentation():
    assert markdown() in (ROOT / 'docs' / 'weights.md').read_text()


def test_table__every_refusal_has_a_test():
    tested = {*REFUSED, 'SwiGLU', 'a distillation token'}
    assert {refusal.what for refusal in REFUSALS} <= tested
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
