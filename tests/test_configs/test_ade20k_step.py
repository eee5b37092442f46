# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The segmentation recipe at work: weights, one step, the pipelines."""

import numpy as np
import pytest
import torch
from helpers.recordings import Recording
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

import mmcae  # noqa: F401
from mmcae.utils import load_config

pytest.importorskip('mmseg')

NAME = 'upernet_beit-base-p16_cae-300e-pre_8xb2-amp-160k_ade20k-512x512'


@pytest.fixture
def tiny(tmp_path):
    """The recipe with a small encoder, loaded from the authors' checkpoint."""
    recording = Recording('dense_tiny')
    sizes = recording.config
    path = tmp_path / 'official.pth'
    torch.save({'model': recording.group('checkpoint')}, path)
    config = load_config(NAME, {'checkpoint': str(path)})
    width = sizes['embed_dim']
    config.model.data_preprocessor.size = (96, 96)
    config.model.backbone.update(
        arch=dict(
            embed_dims=width,
            num_layers=sizes['depth'],
            num_heads=sizes['num_heads'],
            feedforward_channels=4 * width,
        ),
        img_size=sizes['img_size'],
        out_indices=sizes['out_indices'],
    )
    config.model.neck.embed_dims = width
    config.model.decode_head.update(in_channels=[width] * 4, channels=16)
    config.model.auxiliary_head.in_channels = width
    init_default_scope('mmseg')
    model = MODELS.build(config.model)
    model.init_weights()
    return config, model, recording.group('checkpoint')


def test_pretrained__the_authors_checkpoint_fills_the_segmentor(tiny):
    _, model, weights = tiny
    encoder = model.backbone
    for ours, theirs in (
        (encoder.cls_token, 'cls_token'),
        (encoder.layers[3].gamma_2, 'blocks.3.gamma_2'),
        (encoder.layers[1].attn.q_bias, 'blocks.1.attn.q_bias'),
    ):
        assert torch.equal(ours, weights[f'encoder.{theirs}'])
    table = weights['encoder.pos_embed']
    assert torch.equal(encoder.pos_embed[:, :1], table[:, :1])
    assert encoder.pos_embed.shape[1] == 1 + 6 * 6
    for layer in encoder.layers:
        assert not layer.attn.relative_position_bias_table.any()


def test_step__trains_every_tensor_but_the_positions(tiny):
    """DDP then needs no search for unused parameters."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    config, model, _ = tiny
    model.train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(96, 96)))
        labels = torch.randint(0, 150, (1, 96, 96))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    images = [torch.randint(0, 256, (3, 96, 96)).byte() for _ in range(2)]
    data = model.data_preprocessor(
        dict(inputs=images, data_samples=samples), training=True
    )
    with wrapper.optim_context(model):
        losses = model(**data, mode='loss')
    # An untrained head guesses among 150 classes: ln 150 = 5.01.
    assert losses['decode.loss_ce'].item() == pytest.approx(5.0, abs=0.3)
    loss, _ = model.parse_losses(losses)
    loss.backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    assert without == {'backbone.pos_embed'}


def test_pipelines__ignore_other_and_cut_squares(tmp_path):
    from mmseg.datasets import ADE20KDataset

    config = load_config(NAME)
    init_default_scope('mmseg')
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 151, (150, 200)).astype(np.uint8)
    labels = labels.repeat(2, 0).repeat(2, 1)
    pixels = rng.integers(0, 256, (300, 400, 3)).astype(np.uint8)
    for split in ('training', 'validation'):
        for folder, array, suffix in (
            ('images', pixels, 'jpg'),
            ('annotations', labels, 'png'),
        ):
            path = tmp_path / folder / split
            path.mkdir(parents=True)
            Image.fromarray(array).save(path / f'ADE_1.{suffix}')
    for loader, shape in (
        (config.train_dataloader, (512, 512)),
        (config.val_dataloader, (512, 683)),
    ):
        loader.dataset.data_root = str(tmp_path)
        loader.dataset.pop('type')
        sample = ADE20KDataset(**loader.dataset)[0]
        # Smaller scales are padded by the model's preprocessor.
        height, width = sample['inputs'].shape[1:]
        if loader is config.val_dataloader:
            assert (height, width) == shape
        else:
            assert height <= shape[0]
            assert width <= shape[1]
        found = sample['data_samples'].gt_sem_seg.data
        assert set(np.unique(found)) <= {*range(150), 255}
    expected = labels.astype(int) - 1
    expected[labels == 0] = 255
    assert np.array_equal(found[0].numpy(), expected)
