# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What mmpretrain tests of its own CAE and ``BEiTViT`` holds for ours, too.

Two things differ on purpose: ``'small'`` is the authors' model, and `CAEViT`
has positions unless ``use_abs_pos_emb=False`` is given.
"""

import inspect
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import BEiTViT
from mmpretrain.models import CAEPretrainViT as TheirPretrainViT
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmcae.models import CAEPretrainViT, CAEViT
from mmcae.models.backbones.arch import AUTHORS_SMALL
from mmcae.models.backbones.cae_vit import FIXED_ARGUMENTS

NAMES = sorted(BEiTViT.arch_zoo)
SHARED_NAMES = [name for name in NAMES if name not in AUTHORS_SMALL]
CUSTOM = dict(
    embed_dims=128, num_layers=24, num_heads=16, feedforward_channels=1024
)


def arguments(cls):
    """Defaults of the constructor's arguments, and of those of its parents."""
    defaults = {}
    for parent in reversed(cls.__mro__):
        if parent.__module__.startswith(('mmcae', 'mmpretrain')):
            defaults.update(
                (name, argument.default)
                for name, argument in inspect.signature(
                    parent.__init__
                ).parameters.items()
                if argument.kind is argument.POSITIONAL_OR_KEYWORD
            )
    return defaults


def shapes(model):
    return {name: value.shape for name, value in model.state_dict().items()}


def test_arch__the_authors_small_is_the_only_name_that_differs():
    assert set(CAEViT.arch_zoo) == set(NAMES)
    assert set(AUTHORS_SMALL) == {'s', 'small'}
    for name in AUTHORS_SMALL:
        assert CAEViT.arch_zoo[name]['embed_dims'] == 384
        assert BEiTViT.arch_zoo[name]['embed_dims'] == 768


@pytest.mark.parametrize('ours', [CAEViT, CAEPretrainViT])
def test_arch__every_name_gives_mmpretrains_tensors(ours, subtests):
    config = dict(use_abs_pos_emb=True)
    if ours is CAEPretrainViT:
        config.update(final_norm=True, out_type='raw', use_rel_pos_bias=False)
    for name in SHARED_NAMES:
        with subtests.test(arch=name), torch.device('meta'):
            expected = shapes(BEiTViT(arch=name, **config))
            assert shapes(ours(arch=name, **config)) == expected
            assert shapes(ours(arch=name.upper(), **config)) == expected


@pytest.mark.parametrize('ours', [CAEViT, CAEPretrainViT])
def test_arch__the_error_for_an_unknown_name_lists_the_known(ours):
    with pytest.raises(ValueError, match="'unknown'") as error:
        ours(arch='unknown')
    for name in NAMES:
        assert repr(name) in str(error.value)


def test_arch__the_error_for_an_incomplete_dict_names_the_missing():
    lacking = {k: v for k, v in CUSTOM.items() if k != 'embed_dims'}
    with pytest.raises(ValueError, match='embed_dims'):
        CAEViT(arch=lacking)


def test_arch__is_a_name_or_a_dict(subtests):
    for arch in (None, 12, ('embed_dims', 8)):
        with (
            subtests.test(arch=arch),
            pytest.raises(ValueError, match='name or a dict'),
        ):
            CAEViT(arch=arch)


def test_arch__a_dict_sets_the_sizes_of_the_parts():
    model = CAEViT(arch=CUSTOM, use_abs_pos_emb=False)
    assert (model.embed_dims, model.num_layers) == (128, 24)
    assert model.pos_embed is None
    for layer in model.layers:
        assert layer.attn.num_heads == 16
        assert layer.ffn.feedforward_channels == 1024


def test_base__structure():
    model = CAEViT(arch='b', drop_path_rate=0.1)
    assert model.pos_embed.shape == (1, 197, 768)
    assert len(model.layers) == 12
    for i, layer in enumerate(model.layers):
        assert layer.gamma_1.shape == layer.gamma_2.shape == (768,)
        assert (layer.attn.embed_dims, layer.attn.num_heads) == (768, 12)
        assert layer.ffn.embed_dims == 768
        assert layer.ffn.feedforward_channels == 3072
        assert not layer.ffn.add_identity
        assert layer.ffn.dropout_layer.drop_prob == pytest.approx(i * 0.1 / 11)


def test_base__each_branch_is_dropped_once():
    model = CAEViT(arch={**CUSTOM, 'num_layers': 2}, drop_path_rate=0.5)
    block = model.layers[1].train()
    calls = []
    block.drop_path.register_forward_hook(lambda *_: calls.append(1))
    block(torch.zeros(1, 197, 128))
    assert len(calls) == 2


def test_out_indices__other_than_blocks_are_refused(subtests):
    for indices in ({1: 1}, [0, 13], [0, 12], [-13], 'last', [0.5], None):
        with (
            subtests.test(out_indices=indices),
            pytest.raises(ValueError, match='out_indices'),
        ):
            CAEViT(arch='deit-tiny', out_indices=indices)


def test_out_indices__the_callers_list_is_not_changed():
    out_indices = [-3, -2, -1]
    model = CAEViT(arch='deit-tiny', out_indices=out_indices)
    assert model.out_indices == [9, 10, 11]
    assert out_indices == [-3, -2, -1]


def test_base__outputs(subtests):
    for config, expected in (
        (dict(), [(1, 768)]),
        (dict(out_type='cls_token'), [(1, 768)]),
        (dict(out_type='raw'), [(1, 197, 768)]),
        (dict(out_type='featmap'), [(1, 768, 14, 14)]),
        (dict(out_indices=[-3, -2, -1]), [(1, 768)] * 3),
    ):
        with subtests.test(**config):
            model = CAEViT(arch='b', drop_path_rate=0.1, **config)
            outputs = model(torch.randn(1, 3, 224, 224))
            assert isinstance(outputs, tuple)
            assert [tuple(output.shape) for output in outputs] == expected


def test_forward__runs_on_the_meta_device():
    with torch.device('meta'):
        images = torch.empty(2, 3, 224, 224)
        (out,) = CAEViT(arch='eva-giant', out_type='cls_token')(images)
    assert out.shape == (2, 1408)


def test_frozen_stages__freezes_what_mmpretrain_freezes(subtests):
    for stages in (-1, 0, 1, 11, 12):
        for final_norm in (False, True):
            with subtests.test(frozen_stages=stages, final_norm=final_norm):
                check_frozen(stages, final_norm)


def check_frozen(frozen_stages, final_norm):
    config = dict(
        arch='deit-tiny',
        frozen_stages=frozen_stages,
        final_norm=final_norm,
        use_abs_pos_emb=True,
    )
    ours, theirs = CAEViT(**config).train(), BEiTViT(**config)
    wanted = {n: p.requires_grad for n, p in theirs.named_parameters()}
    wanted['pos_embed'] = False  # ours never trains the table
    assert {n: p.requires_grad for n, p in ours.named_parameters()} == wanted
    in_training = [layer.training for layer in theirs.layers]
    assert [layer.training for layer in ours.layers] == in_training
    assert ours.patch_embed.training is theirs.patch_embed.training
    assert ours.drop_after_pos.training is theirs.drop_after_pos.training


def test_layer_depth__equals_mmpretrains():
    config = dict(arch='deit-tiny', final_norm=True, use_abs_pos_emb=True)
    ours, theirs = CAEViT(**config), BEiTViT(**config)
    for name in theirs.state_dict():
        depth = ours.get_layer_depth('backbone.' + name, 'backbone.')
        assert depth == theirs.get_layer_depth(name)


def test_config__mmpretrains_fine_tuning_works_with_our_type(subtests):
    folder = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
    found = sorted(folder.glob('*/benchmarks/beit-base-p16_8xb*.py'))
    assert len(found) > 4
    for file in found:
        with subtests.test(config=str(file.relative_to(folder))):
            config = Config.fromfile(file).model.backbone
            assert config.type == 'BEiTViT'
            config.pop('init_cfg', None)
            config.setdefault('use_abs_pos_emb', False)
            with torch.device('meta'):
                expected = shapes(MODELS.build(config))
                config.type = 'mmcae.CAEViT'
                assert shapes(MODELS.build(config)) == expected


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
def test_interpolate_mode__positions_are_resized_as_mmpretrains(mode):
    config = dict(
        arch='deit-tiny',
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,  # mmpretrain's needs SciPy before 1.14
        interpolate_mode=mode,
    )
    source = CAEViT(**config, img_size=96).state_dict()
    ours, theirs = (cls(**config) for cls in (CAEViT, BEiTViT))
    for model in (ours, theirs):
        model.load_state_dict(dict(source), strict=False)
    assert torch.equal(ours.pos_embed, theirs.pos_embed)
    theirs.load_state_dict(ours.state_dict())
    ours.eval()
    theirs.eval()
    images = torch.randn(1, 3, 192, 240)
    for one, two in zip(ours(images), theirs(images), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('ours', 'theirs', 'other'),
    [
        (CAEViT, BEiTViT, {'use_abs_pos_emb'}),
        # mmpretrain's default of the layer scale, None, raises an error;
        # ``'b'`` is ``'base'``; ours needs no `init_cfg` to draw weights.
        (
            CAEPretrainViT,
            TheirPretrainViT,
            {'arch', 'layer_scale_init_value', 'init_cfg'},
        ),
    ],
)
def test_init__takes_every_argument_with_the_same_default(ours, theirs, other):
    mine = {**arguments(ours), **FIXED_ARGUMENTS}
    differing = {
        name
        for name, default in arguments(theirs).items()
        if name not in mine or mine[name] != default
    }
    assert differing == other


def test_pretraining__encodes_the_visible_patches():
    model = CAEPretrainViT(
        arch='deit-tiny', patch_size=16, layer_scale_init_value=0.1
    )
    model.init_weights()
    images = torch.randn(1, 3, 224, 224)
    mask = torch.zeros(1, 196, dtype=torch.bool)
    mask[:, 75:150] = True
    assert model(images, mask).shape == (1, 122, 192)
    assert model(images, None)[0].shape == (1, 197, 192)


@pytest.mark.parametrize(
    'preprocessor', ['mmcae.CAEDataPreprocessor', 'TwoNormDataPreprocessor']
)
def test_cae__one_step_of_mmpretrains_model_with_our_types(preprocessor):
    data_preprocessor = dict(
        type=preprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        second_mean=[-31.875] * 3,
        second_std=[318.75] * 3,
        to_rgb=True,
    )
    model = MODELS.build(
        dict(
            type='mmcae.CAE',
            backbone=dict(
                type='mmcae.CAEPretrainViT',
                arch='deit-tiny',
                patch_size=16,
                layer_scale_init_value=0.1,
            ),
            neck=dict(
                type='mmcae.CAENeck',
                embed_dims=192,
                num_heads=12,
                regressor_depth=4,
                decoder_depth=4,
                mlp_ratio=4,
                layer_scale_init_value=0.1,
            ),
            head=dict(
                type='mmcae.CAEHead', loss=dict(type='mmcae.CAELoss', lambd=2)
            ),
            target_generator=dict(type='mmcae.DALL-E'),
            data_preprocessor=data_preprocessor,
        )
    )
    mask = torch.zeros(196, dtype=torch.bool)
    mask[75:150] = True
    sample = DataSample().set_mask(mask)
    data = dict(
        inputs=[torch.rand(1, 3, 224, 224), torch.rand(1, 3, 112, 112)],
        data_samples=[sample],
    )
    losses = model(**model.data_preprocessor(data), mode='loss')
    assert isinstance(losses['loss'].item(), float)
    assert losses['loss'].isfinite()
