# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Behavior of `CAE` beyond the recorded numbers."""

import pytest
import torch
from helpers.recordings import TINY, FixedTokens, cae_config, samples_with
from mmengine.registry import MODELS
from torch import nn


class LogitsTokenizer(nn.Module):
    """mmpretrain's contract: forward returns logits, no `tokenize`."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 8, 8)

    def forward(self, x):
        return self.conv(x)


def build(config=TINY, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(cae_config(config, **kwargs))
    model.init_weights()
    return model


def masks(batch=2, length=16, count=8):
    rows = torch.stack(
        [
            torch.randperm(length, generator=torch.Generator().manual_seed(i))
            for i in range(batch)
        ]
    )
    return rows < count


def step(model, images=None, mask=None, token_size=32):
    torch.manual_seed(1)
    mask = masks() if mask is None else mask
    images = torch.randn(len(mask), 3, 64, 64) if images is None else images
    second = torch.rand(len(mask), 3, token_size, token_size)
    return model([images, second], samples_with(mask), mode='loss')


def with_tokenizer(model, tokenizer=None):
    model.target_generator = tokenizer or LogitsTokenizer()
    return model.train()


def test_loss__returns_losses_and_health():
    losses = step(with_tokenizer(build()))
    assert set(losses) == {
        'loss',
        'main',
        'align',
        'acc',
        'acc_position',
        'perplexity',
        'cosine',
        'latent_std',
    }
    assert torch.equal(losses['loss'], losses['main'] + losses['align'])
    total, _ = build().parse_losses(losses)
    assert torch.equal(total, losses['loss'])
    grad_free = set(losses) - {'loss', 'main', 'align'}
    assert not any(losses[name].requires_grad for name in grad_free)


def test_tokens__logits_contract_gives_the_argmax():
    model = with_tokenizer(build())
    images, mask = torch.rand(2, 3, 32, 32), masks()
    expected = model.target_generator(images).argmax(1).flatten(1)
    fixed = with_tokenizer(build(), FixedTokens(expected))
    samples = samples_with(mask)
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 64, 64), images]
    one, two = (m(inputs, samples, mode='loss') for m in (model, fixed))
    assert torch.equal(one['main'], two['main'])


def test_tokens__are_computed_outside_autocast():
    seen = []

    class Watcher(FixedTokens):
        def tokenize(self, images):
            seen.append(torch.is_autocast_enabled('cpu'))
            return super().tokenize(images)

    model = with_tokenizer(build(), Watcher(torch.zeros(2, 16).long()))
    with torch.autocast('cpu', torch.bfloat16):
        losses = step(model)
    assert seen == [False]
    assert losses['loss'].dtype == torch.float32


def test_tokens__with_another_grid_raise():
    dvae = MODELS.build(dict(type='mmcae.DVAE', vocab_size=24))
    for tokenizer in (LogitsTokenizer(), dvae):
        with pytest.raises(ValueError, match=r'64 tokens .* 16 patches'):
            step(with_tokenizer(build(), tokenizer), token_size=64)


def test_loss__samples_with_different_mask_counts_raise():
    mask = masks()
    mask[1, mask[1].nonzero()[0]] = False
    with pytest.raises(ValueError, match=r'\[8, 7\] masked of 16'):
        step(with_tokenizer(build()), mask=mask)


def test_loss__empty_and_foreign_masks_are_refused():
    with pytest.raises(ValueError, match='masks none of the 16'):
        step(with_tokenizer(build()), mask=masks(count=0))
    with pytest.raises(ValueError, match=r'36 entries .* 16 patches'):
        step(with_tokenizer(build()), mask=masks(length=36))


@pytest.mark.parametrize('count', [1, 5, 15])
def test_loss__any_number_of_masked_patches(count):
    losses = step(with_tokenizer(build()), mask=masks(count=count))
    assert losses['loss'].isfinite()


def test_loss__non_square_images():
    model = with_tokenizer(build({**TINY, 'img_size': (32, 96)}))
    mask = masks(length=12, count=5).view(2, 2, 6)
    samples = samples_with(mask)
    inputs = [torch.randn(2, 3, 32, 96), torch.rand(2, 3, 16, 48)]
    assert model(inputs, samples, mode='loss')['loss'].isfinite()


def test_loss__another_size_than_the_configured_one():
    model = with_tokenizer(build())
    samples = samples_with(masks(length=24, count=9))
    inputs = [torch.randn(2, 3, 64, 96), torch.rand(2, 3, 32, 48)]
    assert model(inputs, samples, mode='loss')['loss'].isfinite()


def test_encoder__masked_pixels_do_not_change_visible_features():
    model, mask = build(), masks(batch=1)
    images = torch.randn(1, 3, 64, 64)
    hidden = mask.view(1, 1, 4, 4).repeat_interleave(16, 2)
    hidden = hidden.repeat_interleave(16, 3)
    changed = torch.where(hidden, torch.randn_like(images), images)
    assert not torch.equal(images, changed)
    assert torch.equal(
        model.backbone(images, mask), model.backbone(changed, mask)
    )


@pytest.mark.parametrize('target_encoder', ['shared', 'copy'])
def test_gradient__does_not_reach_target_or_tokenizer(target_encoder):
    model = with_tokenizer(build(target_encoder=target_encoder))
    images = torch.randn(2, 3, 64, 64)
    assert not model.latent_target(images, masks()).requires_grad
    step(model, images)['loss'].backward()
    assert all(p.grad is None for p in model.target_generator.parameters())
    trainable = dict(model.named_parameters())
    for name, parameter in trainable.items():
        if name.startswith(('teacher', 'target_generator')):
            assert parameter.grad is None, name
        elif name == 'backbone.pos_embed':
            assert parameter.grad is None
        else:
            # No unused parameter: DDP needs no search for them.
            assert parameter.grad is not None, name


def test_gradient__alignment_moves_only_the_prediction():
    model = with_tokenizer(build())
    images, mask = torch.randn(2, 3, 64, 64), masks()
    grid = model.backbone.grid(images)
    visible = model.backbone(images, mask)[:, 1:].detach().requires_grad_()
    pred = model.neck.regress(visible, mask, grid)
    target = model.latent_target(images, mask)
    _, align = model.head.loss_module(
        torch.zeros(16, 24), torch.zeros(16).long(), pred, target
    )
    (gradient,) = torch.autograd.grad(align, pred)
    expected = 2.0 * 2 * (pred - target) / pred.numel()
    torch.testing.assert_close(gradient, expected)


def test_teacher__momentum_keeps_its_share():
    model = with_tokenizer(build(target_encoder='copy', base_momentum=0.75))
    before = {k: v.clone() for k, v in model.teacher.named_parameters()}
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(1.0)
    step(model)
    for name, parameter in model.teacher.named_parameters():
        torch.testing.assert_close(parameter, before[name] + 0.25)


def test_teacher__is_not_refreshed_in_evaluation():
    model = with_tokenizer(build(target_encoder='copy')).eval()
    before = model.teacher.cls_token.clone()
    with torch.no_grad():
        model.backbone.cls_token.add_(1.0)
    step(model)
    assert torch.equal(model.teacher.cls_token, before)


def test_init__contradictions_are_refused():
    with pytest.raises(ValueError, match="needs target_encoder='copy'"):
        build(base_momentum=0.9)
    with pytest.raises(ValueError, match="got 'mean'"):
        build(target_encoder='mean')
    with pytest.raises(ValueError, match=r'8192 codes.*num_classes=24'):
        build(target_generator=dict(type='mmcae.DALLEEncoder', n_hid=8))


def test_train__keeps_the_tokenizer_in_evaluation_mode():
    model = with_tokenizer(build())
    assert model.training
    assert not model.target_generator.training


def test_add_token_listener__is_called_once_until_it_is_removed():
    model, heard = with_tokenizer(build()), []

    def listener(samples, tokens):
        heard.append((len(samples), tuple(tokens.shape)))

    model.add_token_listener(listener)
    model.add_token_listener(listener)
    step(model)
    assert heard == [(2, (2, 16))]
    model.remove_token_listener(listener)
    model.remove_token_listener(listener)
    step(model)
    assert len(heard) == 1


def test_extract_feat__and_forward_take_plain_images():
    model, images = build().eval(), torch.randn(2, 3, 64, 64)
    (tokens,) = model(images)
    assert tokens.shape == (2, 17, 32)
    assert torch.equal(model.extract_feat(images)[0], tokens)


def test_mask__may_be_a_grid_of_any_type():
    model = with_tokenizer(build())
    flat = step(model, mask=masks())
    model.token_health.counts.zero_()
    grid = step(model, mask=masks().view(2, 4, 4))
    assert torch.equal(flat['loss'], grid['loss'])


def test_state_dict__has_no_tokenizer_and_needs_none():
    model = with_tokenizer(build())
    state = model.state_dict()
    assert not any('target_generator' in key for key in state)
    assert 'token_health.counts' not in state
    model.load_state_dict(state, strict=True)


def test_load__published_openmmlab_layout():
    """Copied teacher, tokenizer and unused pooled norms are in the file."""
    model = with_tokenizer(build())
    state = {k: torch.randn_like(v) for k, v in model.state_dict().items()}
    published = dict(state)
    for key in [k for k in state if k.startswith('backbone.')]:
        published[key.replace('backbone.', 'teacher.')] = state[key]
    for prefix in ('backbone', 'teacher'):
        for leaf in ('weight', 'bias'):
            published[f'{prefix}.ln2.{leaf}'] = torch.zeros(32)
    published['target_generator.blocks.input.w'] = torch.zeros(3)
    result = model.load_state_dict(published)
    assert not result.missing_keys
    assert not result.unexpected_keys
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_load__copy_makes_its_teacher_from_the_encoder():
    shared, copied = build(), build(target_encoder='copy')
    with torch.no_grad():
        shared.backbone.cls_token.fill_(0.5)
    result = copied.load_state_dict(shared.state_dict())
    assert not result.missing_keys
    assert torch.equal(copied.teacher.cls_token, shared.backbone.cls_token)


def test_config__written_for_mmpretrain_works_after_prefixing():
    def small(kind, scope):
        return kind if scope is None else f'{scope}.{kind}'

    def config(scope):
        return dict(
            type=small('CAE', scope),
            backbone=dict(
                type=small('CAEPretrainViT', scope),
                arch=dict(
                    embed_dims=32,
                    num_layers=2,
                    num_heads=4,
                    feedforward_channels=128,
                ),
                img_size=64,
                patch_size=16,
                layer_scale_init_value=0.1,
                bias='qv_bias',
            ),
            neck=dict(
                type=small('CAENeck', scope),
                embed_dims=32,
                num_heads=4,
                regressor_depth=1,
                decoder_depth=1,
                mlp_ratio=4,
                mask_tokens_num=8,
                layer_scale_init_value=0.1,
            ),
            head=dict(
                type=small('CAEHead', scope),
                loss=dict(type=small('CAELoss', scope), lambd=2),
            ),
            target_generator=dict(
                type=small('DALL-E', scope),
                init_cfg=dict(type='Pretrained', checkpoint='dalle.pth'),
            ),
            base_momentum=0.0,
        )

    from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

    theirs = MMPRETRAIN_MODELS.build(config(None))
    with pytest.warns(DeprecationWarning, match='mask_tokens_num=8'):
        ours = MMPRETRAIN_MODELS.build(config('mmcae'))
    assert type(ours).__module__.startswith('mmcae.')
    result = ours.load_state_dict(theirs.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    theirs.teacher.load_state_dict(theirs.backbone.state_dict())
    images, second = torch.randn(2, 3, 64, 64), torch.rand(2, 3, 32, 32)
    ours.target_generator.load_state_dict(theirs.target_generator.state_dict())
    # mmpretrain adds the encoder's table in the neck; ours builds its own.
    with torch.no_grad():
        table = build().backbone.pos_embed
        for model in (theirs.backbone, theirs.teacher, ours.backbone):
            model.pos_embed.copy_(table)
    samples = samples_with(masks())
    expected = theirs([images, second], samples, mode='loss')
    losses = ours([images, second], samples, mode='loss')
    for name in ('main', 'align'):
        torch.testing.assert_close(
            losses[name], expected[name], rtol=1e-5, atol=1e-6
        )


def test_train_step__is_skipped_on_a_broken_loss():
    from mmcae.engine import OptimWrapper

    model = with_tokenizer(build())
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.neck.head.weight.clone()
    images = torch.full((2, 3, 64, 64), float('nan'))
    batch = dict(
        inputs=[images, torch.rand(2, 3, 32, 32)],
        data_samples=samples_with(masks()),
    )
    log = model.train_step(batch, wrapper)
    assert log['main'].isnan()
    assert torch.equal(model.neck.head.weight, before)


@pytest.mark.parametrize('tokenizer', ['DALLEEncoder', 'DVAE'])
def test_init__wrong_pixel_norm_of_the_second_view_raises(tokenizer):
    norms = dict(DALLEEncoder=(-31.875, 318.75), DVAE=(0.0, 255.0))
    target_generator = dict(type=f'mmcae.{tokenizer}', vocab_size=24)

    def build_with(mean, std):
        return build(
            target_generator=target_generator,
            data_preprocessor=dict(
                type='mmpretrain.TwoNormDataPreprocessor',
                mean=[127.5] * 3,
                std=[127.5] * 3,
                second_mean=[mean] * 3,
                second_std=[std] * 3,
            ),
        )

    mean, std = norms.pop(tokenizer)
    build_with(mean, std)
    (other,) = norms.values()
    with pytest.raises(ValueError, match=f'second_mean={mean}'):
        build_with(*other)
