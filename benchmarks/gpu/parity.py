# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Equal to the recordings in float32; half precision close to float32."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.registry import MODELS, DefaultScope
from safetensors.torch import load_file
from speed.batches import make_batch
from speed.ours import Ours
from torch import Tensor

from mmcae.models import CAEViT, FeaturePyramid
from mmcae.models.target_generators import DALLEEncoder
from mmcae.utils import from_official, to_official

from .models import TESTS, size_of
from .report import Report
from .settings import Settings

EXACT = 1e-5
PRETRAININGS = ('pretrain_tiny', 'pretrain_projected')
PYRAMID = {'fpn1.': 'upsample_4x.', 'fpn2.': 'upsample_2x.'}


def run(settings: Settings, report: Report) -> None:
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    with exact_float32():
        for name in PRETRAININGS:
            for target_encoder in ('shared', 'copy'):
                _pretraining(name, target_encoder, settings, report)
        _dense(settings, report)
        _finetuned(settings, report)
        _tokenizer(settings, report)
        _half_precision(settings, report)
        _tokens(settings, report)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Switch TF32 off, which rounds float32 to ten bits on GPUs."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _error(value: Tensor, reference: Tensor, least: float = 1e-12) -> float:
    """Largest difference over the largest reference value."""
    value, reference = value.detach().cpu(), reference.detach().cpu()
    scale = reference.abs().max().clamp_min(least)
    return ((value - reference).abs().max() / scale).item()


def _pretraining(
    name: str, target_encoder: str, settings: Settings, report: Report
) -> None:
    from helpers.recordings import (
        FixedTokens,
        Recording,
        cae_config,
        samples_with,
    )

    recording, device = Recording(name), settings.torch_device
    config = cae_config(recording.config, target_encoder=target_encoder)
    model: Any = MODELS.build(config)
    model.load_state_dict(from_official(recording.group('weights')))
    model.target_generator = FixedTokens(recording['inputs/tokens'])
    model.to(device).train()
    images = recording['inputs/images'].to(device)
    mask = recording['inputs/mask']
    losses = model([images, images], samples_with(mask), mode='loss')
    losses['loss'].backward()
    errors = {
        key: _error(losses[key], recording[f'outputs/loss_{key}'])
        for key in ('main', 'align')
    }
    mask = mask.to(device).bool()
    grid = model.backbone.grid(images)
    logits, pred = model.neck(model.backbone(images, mask)[:, 1:], mask, grid)
    found = dict(latent_pred=pred, logits=logits.flatten(0, 1))
    if target_encoder == 'shared':
        found['latent_target'] = model.latent_target(images, mask)
    for key, value in found.items():
        errors[key] = _error(value, recording[f'outputs/{key}'])
    gradients = {
        key: parameter.grad.cpu()
        for key, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    expected = recording.group('grads')
    largest = max(float(g.abs().max()) for g in expected.values())
    # Some gradients are zero but for rounding (frozen directions).
    errors['gradients'] = max(
        _error(value, expected[key], 1e-3 * largest)
        for key, value in to_official(gradients).items()
    )
    report.detail(f'{name}, {target_encoder}', errors)
    worst = max(errors, key=errors.__getitem__)
    what = f'{name}, {target_encoder}: largest error ({worst})'
    report.require(what, errors[worst], most=EXACT)


def _dense(settings: Settings, report: Report) -> None:
    from helpers.recordings import Recording

    recording, device = Recording('dense_tiny'), settings.torch_device
    state = from_official(recording.group('checkpoint'))
    state = {
        key.removeprefix('backbone.'): value
        for key, value in state.items()
        if key.startswith('backbone.')
    }
    given = recording.group('dense')
    for key, value in given.items():
        if key.endswith('bias_table'):
            state[key.replace('blocks.', 'layers.')] = value
    backbone = CAEViT(
        arch=dict(
            embed_dims=32, num_layers=4, num_heads=4, feedforward_channels=128
        ),
        img_size=96,
        patch_size=16,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
    )
    backbone.load_state_dict(state, strict=False)
    pyramid = FeaturePyramid(32, norm_cfg=dict(type='BN'))
    pyramid.load_state_dict(
        {
            key.replace(old, new): value
            for key, value in given.items()
            for old, new in PYRAMID.items()
            if key.startswith(old)
        }
    )
    backbone.to(device).eval()
    pyramid.to(device).eval()
    with torch.no_grad():
        levels = pyramid(backbone(recording['inputs/images'].to(device)))
    errors = [
        _error(level, recording[f'outputs/level{i}'])
        for i, level in enumerate(levels)
    ]
    report.require('dense_tiny: largest error', max(errors), most=EXACT)


def _finetuned(settings: Settings, report: Report) -> None:
    from helpers.classifiers import classifier_config
    from helpers.recordings import Recording

    recording = Recording('evaluation_tiny')
    weights = recording.group('finetune/weights')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(classifier_config('finetune', recording.config))
    model.load_state_dict(from_official(weights))
    model.to(settings.torch_device).eval()
    with torch.no_grad():
        features = model.extract_feat(
            recording['inputs/images'].to(settings.torch_device)
        )
        logits = model.head(features)
    error = _error(logits, recording['finetune/outputs/logits_eval'])
    report.require('evaluation_tiny: error of the logits', error, most=EXACT)


def _tokenizer(settings: Settings, report: Report) -> None:
    recording = load_file(TESTS / 'data' / 'dalle_tiny.safetensors')
    encoder = DALLEEncoder(n_hid=8, vocab_size=32)
    encoder.load_state_dict(
        {
            key.removeprefix('encoder/'): value
            for key, value in recording.items()
            if key.startswith('encoder/')
        }
    )
    encoder.to(settings.torch_device)
    images = recording['outputs/mapped'].to(settings.torch_device)
    error = _error(encoder(images), recording['outputs/encoder_logits'])
    report.require('dalle_tiny: error of the logits', error, most=EXACT)
    tokens = encoder.tokenize(images).cpu()
    equal = torch.equal(tokens, recording['outputs/tokens'].flatten(1))
    report.require('dalle_tiny: tokens are equal', equal)


def _half_precision(settings: Settings, report: Report) -> None:
    """Losses and gradients of one step, from the same weights."""
    size = size_of(settings, 'fp32')
    batch = make_batch(size, settings.pick(16, 4), settings.torch_device)
    first: Ours | None = None
    reference: tuple[float, Tensor] | None = None
    for precision in ('fp32', *settings.half):
        ours = Ours(size, precision, settings.torch_device)
        if first is None:
            first = ours
        else:
            ours.start_from(first.model)
        loss = ours.loss(batch)
        # Scaled, as in training: float16 has no smaller numbers than 6e-8.
        (4096 * loss if precision == 'fp16' else loss).backward()
        gradient = torch.cat(
            [
                p.grad.double().flatten()
                for p in ours.model.parameters()
                if p.grad is not None
            ]
        )
        if reference is None:
            reference = loss.item(), gradient
            continue
        error = abs(loss.item() / reference[0] - 1)
        cosine = torch.dot(gradient, reference[1])
        cosine /= gradient.norm() * reference[1].norm()
        what = f'{precision} against float32: '
        report.require(what + 'loss, relative', error, most=1e-2)
        report.require(what + 'gradient cosine', cosine.item(), least=0.999)


def _tokens(settings: Settings, report: Report) -> None:
    """Tokens of DALL-E's encoder; weights are random, the size is real.

    Random weights prefer few codes. The second time no code is preferred, so
    that the best two are often close: harder than trained weights.
    """
    sizes = {} if settings.cuda else dict(n_hid=32, vocab_size=512)
    device = settings.torch_device
    torch.manual_seed(0)
    exact = DALLEEncoder(**sizes).to(device)
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(settings.pick(32, 8), 3, 112, 112, generator=draw)
    images = (0.8 * images + 0.1).to(device)
    for centered in (False, True):
        if centered:
            with torch.no_grad():
                mean = exact(images).mean((0, 2, 3))
                exact.blocks.output.conv.b.data -= mean
        expected = exact.tokenize(images)
        what = 'close codes' if centered else 'random weights'
        report.note(f'tokens, {what}: codes used', len(expected.unique()))
        for precision in settings.half:
            reduced = DALLEEncoder(**sizes, precision=precision).to(device)
            reduced.load_state_dict(exact.state_dict())
            found = reduced.tokenize(images)
            share = (found == expected).double().mean().item()
            text = f'tokens, {what}: {precision} as float32'
            if centered:
                report.goal(text, share, least=0.985)
            else:
                report.require(text, share, least=0.985)
