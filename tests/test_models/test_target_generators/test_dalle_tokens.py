# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which tokens DALL-E's encoder gives, and in which order.

The recorded tokens are nearly all equal; the tokens of this encoder differ.
"""

import pytest
import torch
from safetensors.torch import save_file

from mmcae.models.layers import use_kernels
from mmcae.models.target_generators import DALLEEncoder, map_pixels

SIZES = dict(n_hid=8, vocab_size=32)
MODULE = 'mmcae.models.target_generators.dalle_encoder'


@pytest.fixture
def images():
    generator = torch.manual_seed(0)
    return map_pixels(torch.rand(6, 3, 32, 48, generator=generator))


@pytest.fixture
def encoder(images):
    torch.manual_seed(0)
    module = DALLEEncoder(**SIZES)
    # Otherwise a few codes would be the likeliest everywhere.
    module.blocks.output.conv.b.data -= module(images).mean((0, 2, 3))
    assert module.tokenize(images).unique().numel() > 20
    return module


def reduced(encoder):
    """The same tokenizer in bfloat16."""
    module = DALLEEncoder(**SIZES, precision='bf16')
    module.load_state_dict(encoder.state_dict())
    return module


def test_tokenize__is_the_argmax_row_by_row(encoder, images):
    expected = encoder(images).argmax(1)
    assert expected.shape == (6, 4, 6)
    assert torch.equal(encoder.tokenize(images), expected.flatten(1))


def test_tokenize__with_a_mask_goes_image_by_image(encoder, images):
    mask = torch.rand(6, 24, generator=torch.manual_seed(0)) < 0.4
    tokens = encoder.tokenize(images, mask)
    assert torch.equal(tokens, encoder.tokenize(images)[mask])
    assert encoder.tokenize(images, torch.zeros_like(mask)).shape == (0,)


def test_tokenize__slices_of_rows_change_nothing(encoder, images, monkeypatch):
    whole = encoder.tokenize(images)
    monkeypatch.setattr(f'{MODULE}._NUM_ROWS', 7)
    assert torch.equal(encoder.tokenize(images), whole)


def test_tokenize__ignores_autocast(encoder, images):
    expected = encoder.tokenize(images)
    for conv in ('torch', 'auto'):
        with use_kernels(conv=conv), torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(encoder.tokenize(images), expected)


def test_tokenize__onednn_equals_torch(encoder, images):
    found = []
    for kernel in ('torch', 'onednn'):
        with use_kernels(conv=kernel, linear=kernel):
            found.append(encoder.tokenize(images))
    assert torch.equal(*found)


def test_tokenize__logs_which_share_agrees_with_float32(
    encoder, images, monkeypatch
):
    lines = []
    monkeypatch.setattr(
        f'{MODULE}.print_log', lambda text, **_: lines.append(text)
    )
    half = reduced(encoder)
    tokens = half.tokenize(images)
    assert half.precision == 'bf16'
    assert torch.equal(half.tokenize(images), tokens)
    share = (tokens == encoder.tokenize(images))[:4].float().mean().item()
    assert 0.5 < share < 1
    assert lines == [
        f'Tokenizer in torch.bfloat16: {share:.2%} of the tokens of 4 images '
        'are those of float32'
    ]


def test_tokenize__last_layer_is_float32_whatever_the_weights(encoder, images):
    half = reduced(encoder).bfloat16()
    half._compared = True
    used = half._features(images)
    assert used.dtype == torch.float32
    conv = half.blocks.output.conv
    logits = torch.nn.functional.conv2d(used, conv.w.float(), conv.b.float())
    expected = logits.argmax(1).flatten(1)
    assert torch.equal(half.tokenize(images), expected)


def test_tokenize__refuses_a_height_that_is_no_multiple(encoder, images):
    with pytest.raises(ValueError, match=r'30 x 48 pixels.* multiple of 8'):
        encoder.tokenize(images[:, :, :30])


def test_constructor__puts_the_weights_on_the_device():
    encoder = DALLEEncoder(**SIZES, device='meta')
    assert all(p.is_meta for p in encoder.parameters())


def test_arrange__is_channels_last_on_cpus(encoder, images):
    arranged = encoder.arrange(images)
    assert arranged.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(arranged, images)


def test_init_weights__of_a_list_with_prefix(encoder, tmp_path):
    path = tmp_path / 'model.safetensors'
    state = encoder.state_dict()
    both = {f'one.{k}': torch.zeros_like(v) for k, v in state.items()}
    both.update({f'two.{k}': v for k, v in state.items()})
    save_file(both, path)
    cfg = dict(type='Pretrained', checkpoint=str(path), prefix='two.')
    loaded = DALLEEncoder(**SIZES, init_cfg=[cfg])
    loaded.init_weights()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, state[name])
    del both['two.blocks.input.w']
    save_file(both, path)
    with pytest.raises(ValueError, match='1 of 74 tensors missing'):
        DALLEEncoder(**SIZES, init_cfg=[cfg]).init_weights()


def test_init_weights__warns_of_random_weights(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmcae.models.target_generators.dalle_layers.print_log',
        lambda text, level, **_: lines.append((level, text)),
    )
    DALLEEncoder(**SIZES).init_weights()
    ((level, text),) = lines
    assert level == 30
    assert 'has random weights: its tokens mean nothing' in text
