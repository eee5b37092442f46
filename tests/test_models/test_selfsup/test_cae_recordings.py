# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`CAE` against numbers recorded from the authors' code."""

import pytest
import torch
from helpers.recordings import (
    FixedTokens,
    Recording,
    cae_config,
    relative_error,
    samples_with,
)
from mmengine.registry import MODELS

from mmcae.utils import from_official, to_official

NAMES = ['pretrain_tiny', 'pretrain_projected']
TOLERANCE = 1e-5


@pytest.fixture(params=NAMES)
def recording(request):
    return Recording(request.param)


def build(recording, target_encoder):
    config = cae_config(recording.config, target_encoder=target_encoder)
    model = MODELS.build(config)
    result = model.load_state_dict(from_official(recording.group('weights')))
    assert not result.missing_keys
    assert not result.unexpected_keys
    model.target_generator = FixedTokens(recording['inputs/tokens'])
    return model.train()


def losses_of(model, recording):
    images = recording['inputs/images']
    samples = samples_with(recording['inputs/mask'])
    return model([images, images], samples, mode='loss')


@pytest.mark.parametrize('target_encoder', ['shared', 'copy'])
def test_loss__equals_the_authors(recording, target_encoder):
    model = build(recording, target_encoder)
    losses = losses_of(model, recording)
    for name in ('main', 'align'):
        error = relative_error(losses[name], recording[f'outputs/loss_{name}'])
        assert error < TOLERANCE, name


@pytest.mark.parametrize('target_encoder', ['shared', 'copy'])
def test_latents_and_logits__equal_the_authors(recording, target_encoder):
    model = build(recording, target_encoder)
    images, mask = recording['inputs/images'], recording['inputs/mask']
    grid = model.backbone.grid(images)
    logits, pred = model.neck(model.backbone(images, mask)[:, 1:], mask, grid)
    values = dict(
        latent_pred=pred,
        latent_target=model.latent_target(images, mask),
        logits=logits.flatten(0, 1),
    )
    for name, value in values.items():
        error = relative_error(value, recording[f'outputs/{name}'])
        assert error < TOLERANCE, name


@pytest.mark.parametrize('target_encoder', ['shared', 'copy'])
def test_backward__every_gradient_equals_the_authors(
    recording, target_encoder
):
    model = build(recording, target_encoder)
    losses_of(model, recording)['loss'].backward()
    gradients = to_official(
        {
            name: parameter.grad
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
    )
    expected = recording.group('grads')
    assert gradients.keys() == expected.keys()
    largest = max(g.abs().max() for g in expected.values())
    for name, reference in expected.items():
        # Some gradients are zero but for rounding (frozen directions).
        scale = torch.maximum(reference.abs().max(), 1e-3 * largest)
        error = (gradients[name] - reference).abs().max() / scale
        assert error < TOLERANCE, name


def train_steps(model, recording, steps):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0)
    trajectory = []
    for _ in range(steps):
        losses = losses_of(model, recording)
        optimizer.zero_grad()
        losses['loss'].backward()
        optimizer.step()
        trajectory.append([losses['main'].item(), losses['align'].item()])
    return torch.tensor(trajectory)


def test_copy__four_steps_follow_the_authors_trajectory(recording):
    expected = recording['outputs/trajectory']
    trajectory = train_steps(build(recording, 'copy'), recording, 4)
    error = ((trajectory - expected) / expected).abs().max()
    assert error < TOLERANCE


def test_shared__starts_equal_and_has_no_lag(recording):
    expected = recording['outputs/trajectory']
    trajectory = train_steps(build(recording, 'shared'), recording, 3)
    error = ((trajectory[0] - expected[0]) / expected[0]).abs().max()
    assert error < TOLERANCE
    # The copied teacher is one step behind: alignment differs from step 1.
    assert (trajectory[1, 1] - expected[1, 1]).abs() > 1e-4 * expected[1, 1]


def test_position_table__equals_the_authors_bit_for_bit(recording):
    model = MODELS.build(cae_config(recording.config))
    assert torch.equal(
        model.backbone.pos_embed, recording['weights/encoder.pos_embed']
    )
