# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which kernel is chosen when, and when it must be PyTorch's own."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmcae.models.layers import Linear, use_kernels
from mmcae.models.layers.feed_forward import FeedForward
from mmcae.models.ops import choice as kernels
from mmcae.models.ops.choice import (
    explicit_attention,
    kernel_choice,
    onednn_conv,
    onednn_conv_works,
    onednn_linear,
    onednn_works,
)
from mmcae.models.ops.linear import _gradients


class Subclass(torch.Tensor):
    """Like tensors that are sharded, quantized and so on."""


def test_use_kernels__overrides_the_environment(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, 'torch')
    assert kernel_choice('linear') == 'torch'
    with use_kernels(linear='onednn'):
        assert kernel_choice('linear') == 'onednn'
    assert kernel_choice('linear') == 'torch'


def test_use_kernels__is_undone_by_an_error():
    with pytest.raises(KeyError), use_kernels(conv='torch'):
        raise KeyError
    assert kernel_choice('conv') == 'auto'


def test_explicit_attention__is_for_short_bfloat16(subtests):
    for dtype, keys, expected in (
        (torch.bfloat16, 256, True),
        (torch.bfloat16, 257, False),
        (torch.float16, 9, False),
        (torch.float32, 9, False),
    ):
        with subtests.test(dtype=dtype, keys=keys):
            q = torch.ones(1, 2, 5, 4, dtype=dtype)
            k = torch.ones(1, 2, keys, 4, dtype=dtype)
            assert explicit_attention(q, k) is expected
            with use_kernels(attention='explicit'):
                assert explicit_attention(q, k)
            with use_kernels(attention='fused'):
                assert not explicit_attention(q, k)
            assert not explicit_attention(q.to('meta'), k.to('meta'))


@pytest.mark.skipif(not onednn_works(), reason='no oneDNN')
def test_onednn_linear__auto_is_for_large_products_and_a_slow_mkl(monkeypatch):
    x, weight = torch.ones(4, 25, 1000), torch.ones(100, 1000)
    monkeypatch.setattr(kernels, 'mkl_is_slow', lambda: True)
    assert onednn_linear(x, weight)
    assert not onednn_linear(x[:, :24], weight)
    with use_kernels(linear='torch'):
        assert not onednn_linear(x, weight)
    monkeypatch.setattr(kernels, 'mkl_is_slow', lambda: False)
    assert not onednn_linear(x, weight)


@pytest.mark.skipif(not onednn_works(), reason='no oneDNN')
def test_onednn_linear__forced_is_still_for_plain_float32_only():
    x, weight = torch.ones(3, 8), torch.nn.Parameter(torch.ones(5, 8))
    with use_kernels(linear='onednn'):
        assert onednn_linear(x, weight)
        for other in (x.double(), x[:0], x.to('meta')):
            assert not onednn_linear(other, weight.to(other))
        assert not onednn_linear(x.as_subclass(Subclass), weight)
        assert not onednn_linear(x, weight.as_subclass(Subclass))
        assert Linear(8, 5)(x[:0]).shape == (0, 5)
        assert Linear(8, 5).double()(x.double()).dtype == torch.float64


@pytest.mark.skipif(
    not onednn_conv_works(torch.float32), reason='no oneDNN convolution'
)
def test_onednn_conv__is_for_frozen_networks_in_two_precisions():
    x = torch.ones(2, 3, 4, 4)
    assert not onednn_conv(x)  # a gradient may be needed
    with torch.no_grad():
        assert onednn_conv(x)
        for other in (x.half(), x.double(), x[:0], x.to('meta')):
            assert not onednn_conv(other)
        assert not onednn_conv(x.as_subclass(Subclass))
        with use_kernels(conv='torch'):
            assert not onednn_conv(x)
        with FlopCounterMode(display=False):
            assert not onednn_conv(x)


@pytest.mark.parametrize(
    ('capability', 'vendor', 'expected'),
    [
        ('AVX512', 'AuthenticAMD', True),
        ('AVX2', 'AuthenticAMD', False),
        ('AVX512', 'GenuineIntel', False),
    ],
)
def test_mkl_is_slow__on_amd_with_wide_registers(
    tmp_path, monkeypatch, capability, vendor, expected
):
    info = tmp_path / 'cpuinfo'
    info.write_text(f'vendor_id : {vendor}\n')
    monkeypatch.setattr(kernels, 'Path', lambda _: info)
    monkeypatch.setattr('torch.backends.mkl.is_available', lambda: True)
    monkeypatch.setattr(
        'torch.backends.cpu.get_cpu_capability', lambda: capability
    )
    assert kernels.mkl_is_slow.__wrapped__() is expected


@pytest.mark.parametrize('fault', ['raises', 'is wrong'])
def test_onednn_works__not_if_the_operation_fails(monkeypatch, fault):
    def broken(x, weight, bias=None, relu=False):
        if fault == 'raises':
            raise AttributeError('no such operation')
        return torch.zeros(())

    monkeypatch.setattr(kernels, 'matmul_onednn', broken)
    monkeypatch.setattr(kernels, 'conv_onednn', broken)
    assert not onednn_works.__wrapped__()
    assert not onednn_conv_works.__wrapped__(torch.float32)


@pytest.mark.filterwarnings('ignore')
def test_is_traced__exporters_see_pytorchs_operations():
    ffn, x = FeedForward(8, 16, 0.0), torch.randn(2, 3, 8)
    with use_kernels(linear='onednn', activation='recompute'):
        traced = str(torch.jit.trace(ffn, x).inlined_graph)
        exported = torch.export.export(ffn, (x,)).graph
        compiled = torch.compile(ffn, fullgraph=True, backend='eager')
        torch.testing.assert_close(compiled(x), ffn(x))
    for text in (traced, str(exported)):
        assert text.count('gelu') >= 1
        assert text.count('linear') >= 2
        assert 'mkldnn' not in text


def test_gradients__are_computed_only_where_needed(subtests):
    x, weight = torch.ones(2, 5, 8), torch.ones(4, 8)
    for asked in range(3):
        needed = tuple(i == asked for i in range(3))
        with subtests.test(needed=needed):
            found = _gradients(needed, torch.ones(2, 5, 4), x, weight, False)
            assert tuple(grad is not None for grad in found) == needed


def test_feed_forward__calls_a_replaced_layer():
    class Adapted(Linear):
        def forward(self, input):
            return super().forward(input) + 1

    ffn = FeedForward(8, 16, 0.0)
    adapted = Adapted(16, 8)
    adapted.load_state_dict(ffn.layers[1].state_dict())
    x = torch.randn(2, 3, 8)
    before = ffn(x)
    ffn.layers[1] = adapted
    torch.testing.assert_close(ffn(x), before + 1)
