# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Each fast kernel gives what the plain one gives, and saves less."""

import pytest
import torch
import torch.nn.functional as F
from lanes import tested_torches
from torch import nn

from mmcae.models.layers import Linear, use_kernels
from mmcae.models.layers.feed_forward import FeedForward
from mmcae.models.ops import attention
from mmcae.models.ops.choice import (
    KERNELS,
    VARIABLE,
    kernel_choice,
    onednn_conv_works,
    onednn_works,
)


def gradients(function, *inputs):
    """Output, and gradients of a weighted sum of all its elements."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*inputs)
    weights = torch.linspace(-1, 2, out.numel()).view_as(out)
    grads = torch.autograd.grad((out.float() * weights).sum(), inputs)
    return out, *grads


def assert_equal(ours, theirs, tolerance):
    for one, other in zip(ours, theirs, strict=True):
        error = (one - other).abs().max() / other.abs().max()
        assert error < tolerance, float(error)


def test_kernel_choice__refuses_unknown_values(monkeypatch):
    monkeypatch.setenv(VARIABLE, 'fast')
    with pytest.raises(ValueError, match="MMCAE_KERNELS='fast': set 'auto'"):
        kernel_choice('linear')
    with (
        pytest.raises(ValueError, match="attention='best'"),
        use_kernels(attention='best'),
    ):
        pass


def test_kernel_choice__the_variable_chooses_torch_for_everything(monkeypatch):
    assert {kernel_choice(kernel) for kernel in KERNELS} == {'auto'}
    monkeypatch.setenv(VARIABLE, 'torch')
    for kernel, choices in KERNELS.items():
        assert kernel_choice(kernel) in choices
        assert kernel_choice(kernel) != 'auto'


def test_onednn__is_there_on_every_tested_torch():
    """The operations are not documented: a new torch may not have them.

    Everything still works without them, but up to twice as slowly, and the
    tests below are skipped. This test fails instead, so that it is noticed.
    """
    version = '.'.join(torch.__version__.split('.')[:2])
    if version not in tested_torches():
        pytest.skip(f'torch {version} is none of those tested')
    if not torch.backends.mkldnn.is_available():
        pytest.skip('this build of torch has no oneDNN')
    assert onednn_works()
    assert onednn_conv_works(torch.float32)
    assert onednn_conv_works(torch.bfloat16)


def test_use_kernels__is_undone():
    with use_kernels(linear='onednn'), use_kernels(linear='torch'):
        assert kernel_choice('linear') == 'torch'
    assert kernel_choice('linear') == 'auto'
    assert all(choices[0] == 'auto' for choices in KERNELS.values())


@pytest.mark.skipif(not onednn_works(), reason='no oneDNN')
@pytest.mark.parametrize('bias', [True, False])
def test_linear__onednn_equals_torch(bias):
    torch.manual_seed(0)
    layer = Linear(24, 40, bias=bias)
    x = torch.randn(3, 7, 24)
    parameters = list(layer.parameters())

    def run(x, *parameters):
        names = [name for name, _ in layer.named_parameters()]
        state = dict(zip(names, parameters, strict=True))
        out = torch.func.functional_call(layer, state, (x,))
        used.append(out.grad_fn.name())
        return out

    used = []
    with use_kernels(linear='torch'):
        theirs = gradients(run, x, *parameters)
    with use_kernels(linear='onednn'):
        ours = gradients(run, x, *parameters)
    assert '_LinearFunction' in used[1]
    assert '_LinearFunction' not in used[0]
    assert_equal(ours, theirs, 1e-5)


@pytest.mark.skipif(not onednn_works(), reason='no oneDNN')
def test_linear__leaves_autocast_and_counters_alone():
    from torch.utils.flop_counter import FlopCounterMode

    layer, x = Linear(24, 40), torch.randn(7, 24)
    with use_kernels(linear='onednn'):
        with torch.autocast('cpu', torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        with FlopCounterMode(display=False) as counter:
            layer(x)
        assert counter.get_total_flops() == 2 * 7 * 24 * 40


@pytest.mark.parametrize('bias', [True, False])
def test_linear__under_autocast_saves_no_cast_of_its_weight(bias):
    torch.manual_seed(0)
    layer = Linear(24, 40, bias=bias)
    x = torch.randn(7, 24, requires_grad=True)
    found, weights = [], []

    def keep(tensor):
        if tensor.numel() == layer.weight.numel():
            weights.append(tensor)
        return tensor

    for choice in ('torch', 'auto'):
        with (
            use_kernels(linear=choice),
            torch.autocast('cpu', torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
        ):
            out = layer(x)
        assert out.dtype == torch.bfloat16
        found.append(
            (out, *torch.autograd.grad(out.sum(), [x, *layer.parameters()]))
        )
    cast, own = weights
    assert cast.dtype == torch.bfloat16
    assert own.data_ptr() == layer.weight.data_ptr()
    for plain, ours in zip(*found, strict=True):
        assert plain.dtype == ours.dtype
        assert torch.equal(plain, ours)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)]
)
@pytest.mark.parametrize('with_bias', [True, False])
def test_attention__explicit_equals_fused(dtype, tolerance, with_bias):
    torch.manual_seed(0)
    q = torch.randn(2, 3, 5, 8, dtype=dtype)
    k, v = torch.randn(2, 2, 3, 9, 8, dtype=dtype)
    bias = torch.randn(3, 5, 9) if with_bias else None
    results = []
    for kind in ('explicit', 'fused'):
        with use_kernels(attention=kind):
            results.append(
                gradients(lambda *t: attention(*t, bias, scale=0.3), q, k, v)
            )
    assert_equal(*results, tolerance)


def saved_numbers(function):
    """How many numbers are saved for the backward pass, and the output."""
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes() // tensor.itemsize
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = function()
    return sum(sizes.values()), out


@pytest.mark.parametrize('linear', ['torch', 'onednn'])
@pytest.mark.parametrize('autocast', [False, True])
def test_feed_forward__saves_one_hidden_tensor(linear, autocast):
    torch.manual_seed(0)
    ffn = FeedForward(16, 64, 0.0)
    x = torch.randn(2, 50, 16, requires_grad=True)
    kept, results = [], []
    for activation in ('keep', 'recompute'):
        with (
            use_kernels(activation=activation, linear=linear),
            torch.autocast('cpu', torch.bfloat16, enabled=autocast),
        ):
            numbers, out = saved_numbers(lambda: ffn(x))
        kept.append(numbers)
        grads = torch.autograd.grad(
            out.float().square().sum(), [x, *ffn.parameters()]
        )
        results.append((out, *grads))
    assert kept[0] - kept[1] == 2 * 50 * 64
    assert_equal(*results, 1e-2 if autocast else 1e-5)


def test_feed_forward__other_activations_and_dropout_are_plain():
    x = torch.randn(2, 3, 8)
    for activation, drop in (
        (nn.ReLU(), 0.0),
        (nn.GELU(approximate='tanh'), 0.0),
        (nn.GELU(), 0.5),
    ):
        ffn = FeedForward(8, 16, drop)
        ffn.layers[0][1] = activation
        torch.manual_seed(0)
        ours = ffn(x)
        torch.manual_seed(0)
        assert torch.equal(ours, ffn.layers(x))


def test_feed_forward__recomputed_gelu_is_the_same_bits():
    torch.manual_seed(0)
    ffn = FeedForward(8, 16, 0.0)
    x = torch.randn(2, 3, 8)
    hidden = ffn.layers[0][0](x)
    with use_kernels(linear='torch'):
        expected = ffn.layers[1](F.gelu(hidden))
        assert torch.equal(ffn(x), expected)
