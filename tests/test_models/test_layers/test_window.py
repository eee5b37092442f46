# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Attention in windows equals attention with a mask."""

import pytest
import torch
import torch.nn.functional as F
from helpers.recordings import relative_error

from mmcae.models.layers import EncoderBlock, SelfAttention
from mmcae.models.layers.attention import merge_heads, split_heads
from mmcae.models.layers.window import from_windows, split_axis, to_windows

WINDOW = (4, 3)


def attention(**kwargs):
    torch.manual_seed(0)
    layer = SelfAttention(16, num_heads=2, **kwargs)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


def test_split_axis__covers_the_axis_once():
    for length in range(1, 12):
        parts = split_axis(length, 4)
        covered = [i for part, _ in parts for i in range(length)[part]]
        assert covered == list(range(length))
        assert all(size <= 4 for _, size in parts)


def test_to_windows__is_undone_by_from_windows():
    x = torch.arange(2 * 8 * 6 * 3).view(2, 8, 6, 3)
    windows = to_windows(x, WINDOW)
    assert windows.shape == (2, 4, 12, 3)
    assert torch.equal(windows[0, 1, :3], x[0, 0, 3:])
    assert torch.equal(from_windows(windows, WINDOW, (8, 6)), x)


@pytest.mark.parametrize('bias', [None, WINDOW])
def test_forward__one_window_is_ordinary_attention(bias):
    torch.manual_seed(1)
    blocks = [
        EncoderBlock(16, 2, 32, bias_grid=bias, window_size=window)
        for window in (WINDOW, None)
    ]
    for parameter in blocks[0].parameters():
        torch.nn.init.normal_(parameter)
    blocks[1].load_state_dict(blocks[0].state_dict())
    x = torch.randn(2, 1 + 12, 16)
    windowed, plain = (block(x, grid=WINDOW) for block in blocks)
    assert relative_error(windowed, plain) < 1e-6


def window_of(grid):
    """Number of the window of each patch."""
    rows = torch.arange(grid[0]).repeat_interleave(grid[1]) // WINDOW[0]
    columns = torch.arange(grid[1]).repeat(grid[0]) // WINDOW[1]
    return rows * 100 + columns


@pytest.mark.parametrize('use_bias', [False, True])
def test_forward__patches_attend_to_window_and_class_token(use_bias, subtests):
    for grid in ((8, 6), (7, 8), (2, 2), (9, 3)):
        with subtests.test(grid=grid):
            check_windows(grid, use_bias)


def check_windows(grid, use_bias):
    layer = attention(
        bias_grid=WINDOW if use_bias else None, window_size=WINDOW
    )
    windows = window_of(grid)
    bias = torch.zeros(1 + len(windows), 1 + len(windows))
    bias[:] = -torch.inf
    bias[:, 0] = 0
    bias[1:, 1:][windows[:, None] == windows] = 0
    if use_bias:
        bias = bias + bias_inside_windows(layer, grid)
    x = torch.randn(2, 1 + len(windows), 16)
    qkv = F.linear(x, layer.qkv.weight, layer.qkv_bias())
    q, k, v = (split_heads(t, 2) for t in qkv.chunk(3, -1))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    expected = layer.proj(merge_heads(expected))
    out = layer(x, grid=grid)
    assert relative_error(out[:, 1:], expected[:, 1:]) < 1e-6


def bias_inside_windows(layer, grid):
    """The bias between patches, by their positions in their windows."""
    table = layer.relative_position_bias()
    rows = torch.arange(grid[0]).repeat_interleave(grid[1]) % WINDOW[0]
    columns = torch.arange(grid[1]).repeat(grid[0]) % WINDOW[1]
    index = torch.cat([torch.zeros(1), 1 + rows * WINDOW[1] + columns]).long()
    return table[:, index][:, :, index]


def test_forward__class_token_averages_over_patches():
    layer = attention(window_size=WINDOW)
    # With equal keys the class token gets the mean of the values.
    layer.qkv.weight.data[:32] = 0
    x = torch.randn(1, 1 + 5 * 3, 16)
    x[:, 0] = 0
    windows = [x[:, [0, *range(1, 13)]], x[:, [0, *range(13, 16)]]]
    plain = SelfAttention(16, 2)
    plain.load_state_dict(layer.state_dict())
    reads = [plain(window)[:, 0] for window in windows]
    expected = 12 / 15 * reads[0] + 3 / 15 * reads[1]
    assert relative_error(layer(x, grid=(5, 3))[:, 0], expected) < 1e-6


def test_forward__gradients_reach_every_token():
    layer = attention(bias_grid=WINDOW, window_size=WINDOW)
    x = torch.randn(2, 1 + 7 * 5, 16, requires_grad=True)
    layer(x, grid=(7, 5)).square().sum().backward()
    assert x.grad.abs().amin(dim=0).amax(dim=-1).gt(0).all()
    assert layer.relative_position_bias_table.grad.abs().sum() > 0


def test_forward__needs_the_grid():
    with pytest.raises(ValueError, match='patch grid'):
        attention(window_size=WINDOW)(torch.randn(1, 13, 16))
