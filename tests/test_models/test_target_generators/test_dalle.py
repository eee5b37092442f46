# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""DALL-E's encoder and decoder against the recorded numbers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmcae.models.target_generators import (
    DALLEDecoder,
    DALLEEncoder,
    map_pixels,
    unmap_pixels,
)
from mmcae.registry import MODELS

RECORDING = Path(__file__).parents[2] / 'data' / 'dalle_tiny.safetensors'
SIZES = dict(n_hid=8, vocab_size=32)


@pytest.fixture(scope='module')
def recording():
    return load_file(RECORDING)


def part(recording, prefix):
    return {
        k[len(prefix) :]: v
        for k, v in recording.items()
        if k.startswith(prefix)
    }


@pytest.fixture
def encoder(recording):
    module = DALLEEncoder(**SIZES)
    module.load_state_dict(part(recording, 'encoder/'))
    return module


@pytest.fixture
def decoder(recording):
    module = DALLEDecoder(n_init=4, **SIZES)
    module.load_state_dict(part(recording, 'decoder/'))
    return module


def assert_close(ours, theirs):
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < 1e-5, float(error)


def test_map_pixels__equals_the_recording_and_is_undone(recording):
    pixels = recording['inputs/pixels']
    mapped = map_pixels(pixels)
    assert_close(mapped, recording['outputs/mapped'])
    torch.testing.assert_close(unmap_pixels(mapped), pixels)
    assert unmap_pixels(torch.tensor([-9.0, 9.0])).tolist() == [0, 1]


def test_encoder__logits_equal_the_recording(encoder, recording):
    logits = encoder(recording['outputs/mapped'])
    assert logits.shape == (2, 32, 4, 4)
    assert_close(logits, recording['outputs/encoder_logits'])


def test_tokenize__equals_the_recording(encoder, recording):
    tokens = encoder.tokenize(recording['outputs/mapped'])
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens, recording['outputs/tokens'].flatten(1))


def test_tokenize__refuses_other_shapes(encoder):
    images = torch.rand(2, 3, 32, 32)
    with pytest.raises(ValueError, match=r'\(2, 9\).*\(2, 16\) patches'):
        encoder.tokenize(images, torch.zeros(2, 9).bool())
    with pytest.raises(ValueError, match='int64'):
        encoder.tokenize(images, torch.zeros(2, 16).long())
    with pytest.raises(ValueError, match=r'\(2, 1, 32, 32\)'):
        encoder.tokenize(images[:, :1])
    with pytest.raises(ValueError, match='multiple of 8'):
        encoder.tokenize(images[..., :30])


def test_encoder__ignores_autocast_and_keeps_no_graph(encoder, recording):
    images = recording['outputs/mapped'].clone().requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits = encoder(images)
        tokens = encoder.tokenize(images)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert_close(logits, recording['outputs/encoder_logits'])
    assert torch.equal(tokens, recording['outputs/tokens'].flatten(1))


def test_encoder__stays_frozen_in_a_parent_in_training(encoder):
    parent = torch.nn.Sequential(encoder).train()
    assert parent.training
    assert not encoder.training
    assert not encoder.blocks.group_1.training
    assert not any(p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_encoder__low_precision_is_close(recording, precision):
    encoder = DALLEEncoder(**SIZES, precision=precision)
    encoder.load_state_dict(part(recording, 'encoder/'))
    used = []
    last = encoder.blocks.output.conv
    last.register_forward_pre_hook(lambda _, args: used.append(args[0].dtype))
    logits = encoder(recording['outputs/mapped'])
    theirs = recording['outputs/encoder_logits']
    error = (logits - theirs).abs().max() / theirs.abs().max()
    assert used == [torch.float32]
    assert 1e-6 < error < 0.02


def test_compute_dtype__auto_follows_the_device(encoder):
    automatic = DALLEEncoder(**SIZES, precision='auto')
    assert automatic.compute_dtype == torch.float32

    class OnGPU:
        device = torch.device('cuda')

    automatic.parameters = lambda: iter([OnGPU()])
    assert automatic.compute_dtype == torch.float16
    encoder.parameters = automatic.parameters
    assert encoder.compute_dtype == torch.float32


def test_encoder__does_not_touch_its_input(encoder, recording):
    images = recording['outputs/mapped'].clone()
    encoder(images)
    encoder.tokenize(images)
    assert torch.equal(images, recording['outputs/mapped'])


def test_encoder__full_size_has_the_published_tensors():
    with torch.device('meta'):
        encoder = DALLEEncoder()
    shapes = {k: tuple(v.shape) for k, v in encoder.state_dict().items()}
    assert len(shapes) == 74
    assert shapes['blocks.output.conv.w'] == (8192, 2048, 1, 1)
    assert sum(v.numel() for v in encoder.parameters()) == 53786240
    assert encoder.downsample == 8


def test_encoder__equals_mmpretrains(encoder, recording):
    cae = pytest.importorskip('mmpretrain.models.selfsup.cae')
    peer = cae.DALLEEncoder(**SIZES)
    peer.load_state_dict(encoder.state_dict())
    images = recording['outputs/mapped']
    assert_close(encoder(images), peer(images).detach())


def test_decoder__statistics_equal_the_recording(decoder, recording):
    tokens = recording['outputs/tokens']
    one_hot = torch.nn.functional.one_hot(tokens, 32).movedim(-1, 1).float()
    theirs = recording['outputs/decoder_stats']
    assert_close(decoder(one_hot), theirs)
    assert_close(decoder(tokens), theirs)


def test_reconstruct__equals_the_recording(decoder, recording):
    tokens = recording['outputs/tokens'].flatten(1)
    images = decoder.reconstruct(tokens)
    theirs = recording['outputs/reconstruction']
    assert_close(images, theirs.clamp(0, 1))
    assert images.min() >= 0
    assert images.max() <= 1


def test_reconstruct__takes_any_grid_and_refuses_a_wrong_one(decoder):
    tokens = torch.randint(32, (1, 10))
    assert decoder.reconstruct(tokens, (2, 5)).shape == (1, 3, 16, 40)
    with pytest.raises(ValueError, match='10 tokens do not fill'):
        decoder.reconstruct(tokens)
    with pytest.raises(ValueError, match='3 x 4'):
        decoder.reconstruct(tokens, (3, 4))


def test_decoder__refuses_other_shapes_and_types(decoder):
    with pytest.raises(ValueError, match=r'\(1, 7, 4, 4\)'):
        decoder(torch.rand(1, 7, 4, 4))
    with pytest.raises(ValueError, match='float32'):
        decoder(torch.rand(1, 4, 4))


def test_registry__knows_both_names():
    for name in ('mmcae.DALLEEncoder', 'mmcae.DALL-E'):
        assert isinstance(MODELS.build(dict(type=name, **SIZES)), DALLEEncoder)


def test_constructor__takes_mmpretrains_arguments():
    encoder = DALLEEncoder(
        group_count=4,
        n_hid=8,
        n_blk_per_group=2,
        input_channels=3,
        vocab_size=32,
        device=torch.device('cpu'),
        requires_grad=False,
        init_cfg=None,
    )
    assert encoder.vocab_size == 32
    with pytest.warns(UserWarning, match='never trained'):
        DALLEEncoder(**SIZES, requires_grad=True)
    with pytest.raises(ValueError, match="precision='fp8'"):
        DALLEEncoder(**SIZES, precision='fp8')


def test_init_weights__loads_strictly(tmp_path, recording):
    weights = part(recording, 'encoder/')
    path = tmp_path / 'weights.safetensors'
    save_file(weights, path)
    cfg = dict(type='Pretrained', checkpoint=str(path))
    encoder = DALLEEncoder(**SIZES, init_cfg=cfg)
    encoder.init_weights()
    assert torch.equal(encoder.blocks.input.w, weights['blocks.input.w'])
    assert encoder.weights_info['file'] == 'weights.safetensors'
    assert len(encoder.weights_info['sha256']) == 64

    del weights['blocks.output.conv.b']
    save_file(weights, path)
    with pytest.raises(ValueError, match=r'1 of 74 tensors missing \(blocks'):
        DALLEEncoder(**SIZES, init_cfg=cfg).init_weights()


def test_init_weights__missing_file_says_where_to_get_it(tmp_path):
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'no.pth'))
    with pytest.raises(FileNotFoundError) as info:
        DALLEEncoder(**SIZES, init_cfg=cfg).init_weights()
    message = str(info.value)
    for text in (
        str(tmp_path / 'no.pth'),
        'https://mmassets.onedl.ai/mmselfsup',
        'https://download.openmmlab.com/mmselfsup',
        'https://cdn.openai.com/dall-e/encoder.pkl',
        'tools/model_converters/dalle_to_mmcae.py',
    ):
        assert text in message
