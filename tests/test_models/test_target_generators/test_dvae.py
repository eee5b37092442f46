# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The discrete VAE: losses, training, tokens, loading."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import default_collate
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader, Dataset

from mmcae.models import DVAE
from mmcae.models.target_generators.dvae_layers import (
    batch_kl_to_uniform,
    code_statistics,
    geometric,
    kl_to_uniform,
    psnr,
)
from mmcae.registry import MODELS


def tiny(**kwargs):
    torch.manual_seed(0)
    cfg = dict(vocab_size=16, downsample=4, hidden_channels=(8, 12))
    return DVAE(**{**cfg, **kwargs})


def test_kl_to_uniform__equals_its_definition():
    logits = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    q = torch.distributions.Categorical(logits=logits.movedim(1, -1))
    p = torch.distributions.Categorical(
        logits=torch.zeros(2, 3, 4, 5).double()
    )
    expected = torch.distributions.kl_divergence(q, p).mean()
    torch.testing.assert_close(kl_to_uniform(logits), expected)
    assert kl_to_uniform(torch.zeros(1, 7, 2, 2)).abs() < 1e-6


def test_batch_kl_to_uniform__is_zero_for_equal_shares():
    sure = 50 * torch.eye(4).view(1, 4, 2, 2)  # each code in one patch
    assert batch_kl_to_uniform(sure).abs() < 1e-5
    assert kl_to_uniform(sure) == pytest.approx(math.log(4), rel=1e-4)
    one = sure[..., :1, :1].expand(1, 4, 2, 2)
    assert batch_kl_to_uniform(one) == pytest.approx(math.log(4), rel=1e-4)


def test_code_statistics__counts_codes_and_measures_evenness():
    used, perplexity = code_statistics(torch.tensor([[0, 0], [3, 3]]), 8)
    assert used == 2
    torch.testing.assert_close(perplexity, torch.tensor(2.0).double())
    _, uneven = code_statistics(torch.tensor([0, 0, 0, 1]), 8)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(uneven) == pytest.approx(math.exp(entropy))


def test_psnr__of_a_known_error():
    zero = torch.zeros(1, 1, 4, 4)
    assert float(psnr(zero, zero + 0.1)) == pytest.approx(20.0, abs=1e-4)


def test_geometric__ends_and_middle():
    assert geometric(1.0, 0.2, 0.0) == 1.0
    assert geometric(1.0, 0.2, 1.0) == pytest.approx(0.2)
    assert geometric(1.0, 0.25, 0.5) == pytest.approx(0.5)


def test_forward__shapes_in_all_modes():
    model = tiny()
    images = torch.rand(3, 3, 8, 12)
    assert model(images).shape == (3, 16, 2, 3)
    losses = model(images, mode='loss')
    assert set(losses) == {
        'loss_recon',
        'loss_kl',
        'loss_usage',
        'psnr',
        'codes_used',
        'perplexity',
        'temperature',
    }
    samples = model(images, mode='predict')
    assert samples[0].tokens.shape == (6,)
    assert len(samples) == 3
    with pytest.raises(ValueError, match="mode='train'"):
        model(images, mode='train')


def test_loss__trains_every_parameter():
    model = tiny(num_res_blocks=1)
    model.set_progress(0.5)
    total, logs = model.parse_losses(model.loss(torch.rand(4, 3, 8, 8)))
    total.backward()
    parts = ('loss_recon', 'loss_kl', 'loss_usage')
    torch.testing.assert_close(total, sum(logs[name] for name in parts))
    missing = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    ]
    # The last layer of a residual path is zero, so none reaches the first.
    assert all('.conv1.' in name for name in missing), missing


def test_loss__reports_the_psnr_of_hard_tokens():
    model = tiny()
    images = torch.rand(4, 3, 8, 8)
    reported = model.loss(images)['psnr']
    hard = model.reconstruct(model.tokenize(images))
    torch.testing.assert_close(reported, psnr(hard, images))


def test_set_progress__anneals_temperature_and_raises_kl():
    model = tiny(kl_weight=0.1, kl_warmup=0.5)
    assert model.temperature == 1.0
    assert float(model.loss(torch.rand(1, 3, 8, 8))['loss_kl']) == 0
    model.set_progress(0.25)
    assert model.current_kl_weight == pytest.approx(0.05)
    model.set_progress(1.0)
    assert model.temperature == pytest.approx(0.2)
    assert model.current_kl_weight == pytest.approx(0.1)
    logged = model.loss(torch.rand(1, 3, 8, 8))['temperature']
    assert float(logged) == pytest.approx(0.2)


def test_tokenize__is_the_argmax_in_either_mode():
    model = tiny()
    images = torch.rand(2, 3, 8, 16)
    expected = model(images).argmax(1).flatten(1)
    for mode in (True, False):
        tokens = model.train(mode).tokenize(images)
        assert torch.equal(tokens, expected)
        assert tokens.dtype == torch.int64
        assert model.training is mode
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(model.tokenize(images), expected)


def test_tokenize__with_a_mask_gives_the_masked_patches():
    model = tiny()
    images = torch.rand(2, 3, 8, 16)
    mask = torch.tensor([[1, 0, 0, 1, 1, 0, 0, 1]] * 2).bool()
    expected = model.tokenize(images)[mask]
    assert torch.equal(model.tokenize(images, mask), expected)
    with pytest.raises(ValueError, match=r'\(2, 8\) patches'):
        model.tokenize(images, mask[:, :4])


def test_reconstruct__any_grid_in_the_unit_range():
    model = tiny()
    images = model.reconstruct(torch.randint(16, (2, 6)), (2, 3))
    assert images.shape == (2, 3, 8, 12)
    assert images.min() >= 0
    assert images.max() <= 1
    assert not images.requires_grad
    with pytest.raises(ValueError, match='6 tokens do not fill'):
        model.reconstruct(torch.randint(16, (2, 6)))


def test_reconstruct__depends_on_each_token_locally():
    model = tiny()
    tokens = torch.zeros(1, 64).long()
    changed = tokens.clone()
    changed[0, 63] = 1
    difference = (model.reconstruct(tokens) - model.reconstruct(changed)).abs()
    assert difference[0, :, 28:, 28:].sum() > 0
    assert difference[0, :, :8, :8].sum() == 0


def test_constructor__refuses_bad_sizes(subtests):
    for kwargs, message in (
        (dict(downsample=6), 'downsample=6'),
        (dict(hidden_channels=(8,)), '1 widths'),
        (dict(temperature_end=0.0), 'positive'),
    ):
        with (
            subtests.test(**kwargs),
            pytest.raises(ValueError, match=message),
        ):
            tiny(**kwargs)


def test_forward__refuses_other_images():
    with pytest.raises(ValueError, match=r'\(1, 3, 10, 8\)'):
        tiny()(torch.rand(1, 3, 10, 8))
    with pytest.raises(ValueError, match=r'\(1, 3, 4, 8, 8\)'):
        tiny()(torch.rand(1, 3, 4, 8, 8))
    with pytest.raises(ValueError, match='one view'):
        tiny()([torch.rand(1, 3, 8, 8)] * 2)


def test_data_preprocessor__default_gives_the_unit_range():
    images = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    data = tiny().data_preprocessor(dict(inputs=images, data_samples=None))
    assert float(data['inputs'].max()) == 1.0


class Squares(Dataset):
    """Gray squares on black: a few codes suffice."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = np.zeros((3, 16, 16), np.uint8)
        y, x = rng.integers(0, 12, 2)
        image[:, y : y + 4, x : x + 4] = rng.integers(100, 255)
        return dict(inputs=torch.from_numpy(image), data_samples=DataSample())


def train(model, folder, **kwargs):
    cfg = dict(
        train_dataloader=DataLoader(
            Squares(), 16, shuffle=True, collate_fn=default_collate
        ),
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-3)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=4),
        custom_hooks=[dict(type='mmcae.TemperatureHook')],
        default_scope='mmpretrain',
        randomness=dict(seed=0),
        experiment_name=str(folder),
    )
    runner = Runner(model, str(folder), **{**cfg, **kwargs})
    runner.train()
    return runner


def test_training__runs_and_its_checkpoint_is_a_tokenizer(tmp_path):
    model = tiny(pixel_mean=0.1, pixel_std=0.3)
    runner = train(model, tmp_path)
    last = model.temperature
    # When the last of 16 iterations starts, 15 / 16 of the run are done.
    assert last == pytest.approx(0.2 ** (15 / 16))
    history = runner.message_hub.get_scalar('train/loss_recon').data[0]
    assert np.mean(history[-4:]) < np.mean(history[:4])

    path = tmp_path / 'epoch_4.pth'
    cfg = dict(
        type='mmcae.DVAE',
        vocab_size=16,
        downsample=4,
        hidden_channels=(8, 12),
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
    )
    tokenizer = MODELS.build(cfg)
    tokenizer.init_weights()
    images = torch.rand(2, 3, 16, 16)
    # The pixel statistics, too, come from the file and not from the config.
    assert float(tokenizer.pixel_mean[0, 0, 0]) == pytest.approx(0.1)
    assert torch.equal(tokenizer.tokenize(images), model.tokenize(images))
    assert tokenizer.weights_info['file'] == 'epoch_4.pth'

    cfg['vocab_size'] = 32
    with pytest.raises(ValueError, match=r'to_logits\.weight: \(16, 12, 1'):
        MODELS.build(cfg).init_weights()


def test_overlap__without_it_a_token_depends_on_its_own_patch_only():
    torch.manual_seed(0)
    images = torch.rand(1, 3, 32, 32)
    changed = images.clone()
    changed[..., :8, :8] = torch.rand(1, 3, 8, 8)
    for overlap, others_equal in ((False, True), (True, False)):
        model = DVAE(vocab_size=64, overlap=overlap).eval()
        difference = (model(images) - model(changed)).abs().amax(1)[0]
        assert difference[0, 0] > 1e-4
        difference[0, 0] = 0.0
        assert bool(difference.max() < 1e-6) is others_equal


def smooth_images(number=16):
    """Images that change slowly, as most of a photograph does."""
    coarse = torch.rand(number, 3, 3, 3)
    return F.interpolate(coarse, (32, 32), mode='bilinear')


@pytest.mark.parametrize('he_init', [False, True])
def test_he_init__first_logits_are_larger_than_the_noise(he_init):
    torch.manual_seed(0)
    model = DVAE(128, overlap=False, he_init=he_init)
    logits = model(smooth_images())
    gumbel_std = math.pi / 6**0.5
    assert (logits.std(1).mean() > gumbel_std) == he_init


def test_he_init__codebook_does_not_collapse_on_smooth_images():
    torch.manual_seed(1)
    model = DVAE(64, overlap=False, he_init=True, pixel_std=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(80):
        model.set_progress(step / 80)
        losses = model.loss(smooth_images())
        loss = sum(losses[f'loss_{n}'] for n in ('recon', 'kl', 'usage'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses['perplexity'] > 8
