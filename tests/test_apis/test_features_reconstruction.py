# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Features and reconstructions of a small CAE."""

import pytest
import torch
from helpers.recordings import Recording, cae_config
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample

from mmcae.apis import (
    extract_features,
    pool_tokens,
    reconstruct,
    reconstruct_batch,
)
from mmcae.utils import from_official


@pytest.fixture
def model():
    torch.manual_seed(0)
    recording = Recording('pretrain_tiny')
    config = cae_config(
        recording.config,
        data_preprocessor=dict(
            type='mmpretrain.TwoNormDataPreprocessor',
            mean=[0.0] * 3,
            std=[1.0] * 3,
            second_mean=[0.0] * 3,
            second_std=[255.0] * 3,
        ),
        target_generator=dict(type='mmcae.DVAE', vocab_size=24),
    )
    model = MODELS.build(config)
    model.load_state_dict(from_official(recording.group('weights')))
    return model.train()


def test_pool_tokens__separates_class_and_patch_tokens():
    tokens = torch.tensor([[[1.0], [2.0], [4.0]]])
    assert pool_tokens(tokens, 'cls').item() == 1.0
    assert pool_tokens(tokens).item() == 3.0
    assert pool_tokens(tokens, 'both').tolist() == [[1.0, 3.0]]
    with pytest.raises(ValueError, match="got 'max'"):
        pool_tokens(tokens, 'max')


def test_extract_features__encodes_the_first_view_in_order(model):
    images = torch.rand(5, 3, 64, 64) * 255
    second = torch.rand(5, 3, 32, 32) * 255
    batches = [
        dict(
            inputs=[images[part], second[part]],
            data_samples=[DataSample() for _ in images[part]],
        )
        for part in (slice(0, 3), slice(3, 5))
    ]
    features = extract_features(model, batches)
    assert model.training
    model.eval()
    with torch.no_grad():
        expected = model.backbone(images)[0][:, 1:].mean(1)
    torch.testing.assert_close(features, expected)


def test_functions__restore_the_training_mode_after_an_error(model):
    with pytest.raises(ValueError, match='unpack'):
        extract_features(model, [{}])
    assert model.training
    images, mask = torch.rand(2, 3, 64, 64), torch.zeros(2, 3).bool()
    with pytest.raises(ValueError, match='mask'):
        reconstruct_batch(model, images, images, mask)
    assert model.training
    assert not model.target_generator.training


def test_reconstruct_batch__changes_masked_patches_only(model):
    images, second = torch.randn(2, 3, 64, 64), torch.rand(2, 3, 32, 32)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 3:9] = True
    result = reconstruct_batch(model, images, second, mask)
    assert model.training
    assert torch.equal(result.predicted[~mask], result.tokens[~mask])
    model.eval()
    with torch.no_grad():
        grid = model.backbone.grid(images)
        logits, _ = model.neck(model.backbone(images, mask)[:, 1:], mask, grid)
    expected = logits.argmax(-1).flatten()
    assert torch.equal(result.predicted[mask], expected)
    share = (expected == result.tokens[mask]).float().mean().item()
    assert result.accuracy == pytest.approx(share)
    for picture in (result.picture, result.tokenizer_picture):
        assert picture.shape == (2, 3, 32, 32)
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_reconstruct_batch__needs_a_decoder(model):
    model.target_generator = MODELS.build(
        dict(type='mmcae.DALLEEncoder', n_hid=8, vocab_size=24)
    )
    images, second = torch.randn(1, 3, 64, 64), torch.rand(1, 3, 32, 32)
    mask = torch.ones(1, 16, dtype=torch.bool)
    mask[:, 0] = False
    with pytest.raises(ValueError, match=r'mmcae\.DALLEDecoder'):
        reconstruct_batch(model, images, second, mask)
    decoder = MODELS.build(
        dict(type='mmcae.DALLEDecoder', n_hid=8, n_init=4, vocab_size=24)
    )
    result = reconstruct_batch(model, images, second, mask, decoder)
    assert result.picture.shape == (1, 3, 32, 32)


def test_reconstruct_batch__loads_a_tokenizer_that_was_not_loaded(model):
    images, second = torch.randn(1, 3, 64, 64), torch.rand(1, 3, 32, 32)
    mask = torch.eye(16, dtype=torch.bool)[:1]
    model.target_generator.init_cfg = dict(
        type='Pretrained', checkpoint='nowhere.pth'
    )
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        reconstruct_batch(model, images, second, mask)


def test_reconstruct__with_preprocessed_batches_is_the_former_call(model):
    images, second = torch.randn(2, 3, 64, 64), torch.rand(2, 3, 32, 32)
    mask = torch.eye(16, dtype=torch.bool)[:2]
    expected = reconstruct_batch(model, images, second, mask)
    for call in (
        lambda: reconstruct(model, images, second, mask),
        lambda: reconstruct(
            model, images=images, token_images=second, mask=mask
        ),
    ):
        with pytest.warns(DeprecationWarning, match='reconstruct_batch'):
            former = call()
        assert torch.equal(former.picture, expected.picture)
        assert former.accuracy == expected.accuracy
