# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`CAEViT` and `CAEPretrainViT`."""

import pytest
import torch
from helpers.recordings import Recording, relative_error
from mmengine.registry import MODELS

from mmcae.models import CAEPretrainViT, CAEViT
from mmcae.models.backbones.cae_vit import FIXED_ARGUMENTS
from mmcae.utils import from_official

ARCH = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=128)


def build(cls=CAEViT, **kwargs):
    torch.manual_seed(0)
    kwargs = {'arch': ARCH, 'img_size': 64, 'patch_size': 16, **kwargs}
    model = cls(**kwargs)
    model.init_weights()
    return model.eval()


def finetune_model(recording):
    """The recording's fine-tuned model as an mmpretrain classifier."""
    weights = recording.group('finetune/weights')
    encoder = {
        f'encoder.{key}': value
        for key, value in weights.items()
        if not key.startswith(('fc_norm', 'head'))
    }
    state = from_official(encoder)
    for leaf in ('weight', 'bias'):
        state[f'backbone.ln2.{leaf}'] = weights[f'fc_norm.{leaf}']
        state[f'head.fc.{leaf}'] = weights[f'head.{leaf}']
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(
                type='mmcae.CAEViT', arch=ARCH, img_size=64, patch_size=16
            ),
            head=dict(
                type='mmpretrain.LinearClsHead',
                num_classes=recording.config['num_classes'],
                in_channels=32,
            ),
        )
    )
    result = model.load_state_dict(state)
    assert not result.missing_keys
    assert not result.unexpected_keys
    return model


def test_forward__finetuned_logits_equal_the_authors():
    recording = Recording('evaluation_tiny')
    model = finetune_model(recording).eval()
    logits = model(recording['inputs/images'])
    logits = model.head.fc(logits[0]) if logits[0].dim() > 1 else logits
    expected = recording['finetune/outputs/logits_eval']
    assert relative_error(logits, expected) < 1e-5


@pytest.mark.parametrize('out_type', ['raw', 'featmap', 'avg_featmap'])
def test_forward__equals_mmpretrains_vit(out_type):
    from mmpretrain.models import BEiTViT

    config = dict(
        arch=ARCH,
        img_size=64,
        patch_size=16,
        out_type=out_type,
        out_indices=[0, 2],
        use_abs_pos_emb=True,
        use_rel_pos_bias=True,
        final_norm=out_type != 'avg_featmap',
    )
    theirs, ours = BEiTViT(**config), CAEViT(**config)
    state = {
        k: torch.randn_like(v.float())
        for k, v in theirs.state_dict().items()
        if 'index' not in k
    }
    theirs.load_state_dict(state, strict=False)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    for one, two in zip(ours(images), theirs(images), strict=True):
        assert relative_error(one, two) < 1e-5


@pytest.mark.parametrize('bias', ['qv_bias', True, False])
def test_init__bias_kinds_have_mmpretrains_tensors(bias):
    from mmpretrain.models import BEiTViT

    config = dict(arch=ARCH, img_size=64, patch_size=16, bias=bias)
    config['use_abs_pos_emb'] = True
    theirs, ours = BEiTViT(**config), CAEViT(**config)
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_forward__any_image_size(subtests):
    for out_type, shape in (
        ('raw', (2, 25, 32)),
        ('cls_token', (2, 32)),
        ('featmap', (2, 32, 4, 6)),
        ('avg_featmap', (2, 32)),
    ):
        with subtests.test(out_type=out_type):
            model = build(out_type=out_type)
            assert model(torch.randn(2, 3, 64, 96))[0].shape == shape
            # 60 x 90 is padded to whole patches.
            assert model(torch.randn(2, 3, 60, 90))[0].shape == shape


def test_pos_embed__rows_are_row_major_on_any_grid():
    square = build(img_size=(64, 64)).pos_embed
    wide = build(img_size=(32, 96)).pos_embed
    assert wide.shape == (1, 13, 32)
    assert not wide.requires_grad
    # The token of row 1 and column 3 is number 1 + 1 * 6 + 3 on the wide grid
    # and 1 + 1 * 4 + 3 on the square one.
    assert torch.equal(wide[0, 10], square[0, 8])


def test_load__resizes_the_position_table():
    small, large = build(img_size=64), build(img_size=96)
    result = large.load_state_dict(small.state_dict(), strict=False)
    assert not result.unexpected_keys
    recording = Recording('dense_tiny')
    model = build(img_size=96, out_type='featmap', use_rel_pos_bias=False)
    state = model.state_dict()
    state['pos_embed'] = recording['checkpoint/encoder.pos_embed']
    model.load_state_dict(state)
    error = relative_error(model.pos_embed, recording['outputs/pos_embed'])
    assert error < 1e-5


def test_load__final_norm_becomes_the_pooled_norm():
    pretrained = build(CAEPretrainViT)
    with torch.no_grad():
        pretrained.ln1.weight.fill_(3.0)
    pooled = build(use_rel_pos_bias=False)
    result = pooled.load_state_dict(pretrained.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert pooled.ln2.weight.eq(3.0).all()


def test_load__a_shared_bias_table_is_copied_and_resized():
    from mmpretrain.models import BEiTViT

    shared = BEiTViT(
        arch=ARCH,
        img_size=64,
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
    )
    torch.nn.init.normal_(shared.rel_pos_bias.relative_position_bias_table)
    state = shared.state_dict()
    own = build()
    assert not own.load_state_dict(state, strict=False).unexpected_keys
    table = shared.rel_pos_bias.relative_position_bias_table
    for layer in own.layers:
        assert torch.equal(layer.attn.relative_position_bias_table, table)
    larger = build(img_size=96)
    larger.load_state_dict(own.state_dict(), strict=False)
    resized = larger.layers[0].attn.relative_position_bias_table
    assert resized.shape == (11 * 11 + 3, 4)
    assert torch.equal(resized[-3:], table[-3:])


def test_drop_path__acts_once_on_each_branch():
    model = CAEViT(
        arch={**ARCH, 'num_layers': 2},
        img_size=64,
        patch_size=16,
        drop_path_rate=0.5,
        use_rel_pos_bias=False,
    ).train()
    block = model.layers[1]
    torch.nn.init.zeros_(block.attn.proj.weight)
    torch.nn.init.zeros_(block.attn.proj.bias)
    x = torch.randn(4000, 2, 32)
    with torch.no_grad():
        kept = (block(x) - x).abs().amax(dim=(1, 2)) > 1e-6
    assert abs(kept.float().mean().item() - 0.5) < 0.04


def test_frozen_stages__stay_frozen_and_in_evaluation():
    model = build(frozen_stages=2, drop_path_rate=0.5).train()
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert 'cls_token' in frozen
    assert 'layers.1.ffn.layers.1.weight' in frozen
    assert not any(name.startswith('layers.2') for name in frozen)
    assert not model.layers[1].training
    assert model.layers[2].training


def test_get_layer_depth__equals_mmpretrains():
    from mmpretrain.models import BEiTViT

    theirs = BEiTViT(arch=ARCH, img_size=64, use_abs_pos_emb=True)
    ours = build()
    for name, _ in ours.named_parameters():
        for prefix in ('', 'backbone.'):
            expected = theirs.get_layer_depth(prefix + name, prefix)
            assert ours.get_layer_depth(prefix + name, prefix) == expected
    assert ours.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)


BAD_ARGUMENTS = [
    (dict(arch='huge'), "got 'huge'"),
    (dict(arch=dict(embed_dims=8)), 'feedforward_channels'),
    (dict(out_type='mean'), "got 'mean'"),
    (dict(out_indices=3), 'no block 3 among 3'),
    (dict(weight_init='normal'), "got 'normal'"),
    (
        dict(use_shared_rel_pos_bias=True),
        'or use_rel_pos_bias',
    ),
    (dict(with_cls_token=False), 'only True'),
    (dict(layer_cfgs=dict(bias=True)), r'layer_cfgs=.*only \{\}'),
    (dict(patch_cfg=dict(padding=0)), r'patch_cfg=.*by CAEViT'),
    (dict(arch={**ARCH, 'num_heads': 5}), 'num_heads=5'),
    (
        dict(arch={**ARCH, 'embed_dims': 30, 'num_heads': 5}),
        'embed_dims=30',
    ),
]


def test_init__bad_arguments_are_named(subtests):
    for kwargs, message in BAD_ARGUMENTS:
        with (
            subtests.test(**kwargs),
            pytest.raises(ValueError, match=message),
        ):
            build(**kwargs)


def test_init__takes_the_values_that_mmpretrains_configs_give():
    build(**FIXED_ARGUMENTS)
    build(CAEPretrainViT, **FIXED_ARGUMENTS)
    with pytest.raises(TypeError, match="CAEViT has no argument 'out_typ'"):
        build(out_typ='raw')


def test_pretrain__refuses_relative_positions():
    with pytest.raises(ValueError, match='use_rel_pos_bias=False'):
        build(CAEPretrainViT, use_rel_pos_bias=True)


@pytest.mark.parametrize(
    ('arch', 'decoder', 'encoder_size', 'trainable'),
    [
        ('small', (384, 12), 21_670_272, 38_955_392),
        ('base', (768, 12), 85_807_872, 148_681_472),
        ('large', (1024, 16), 303_326_208, 412_320_768),
        ('large', (768, 12), 303_326_208, 366_938_112),
    ],
)
def test_parameters__are_as_many_as_the_authors(
    arch, decoder, encoder_size, trainable
):
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='mmcae.CAE',
                backbone=dict(type='mmcae.CAEPretrainViT', arch=arch),
                neck=dict(
                    type='mmcae.CAENeck',
                    embed_dims=decoder[0],
                    num_heads=decoder[1],
                ),
                head=dict(type='mmcae.CAEHead'),
            )
        )
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    assert sum(p.numel() for p in model.backbone.parameters()) == encoder_size
    assert sum(n for n, needs_grad in sizes if needs_grad) == trainable


def test_parameters__of_the_finetuning_model():
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='mmpretrain.ImageClassifier',
                backbone=dict(type='mmcae.CAEViT'),
                head=dict(
                    type='mmpretrain.LinearClsHead',
                    num_classes=1000,
                    in_channels=768,
                ),
            )
        )
    assert sum(p.numel() for p in model.parameters()) == 86_682_280
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == 86_530_984
