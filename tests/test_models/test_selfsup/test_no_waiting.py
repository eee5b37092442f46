# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A training step that never reads a value from the device.

Fake tensors have shapes but no numbers: whatever would make the host wait for
a GPU (reading a value, picking by a boolean mask) raises.
"""

from types import SimpleNamespace

import pytest
import torch
from helpers.recordings import TINY, cae_config
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)

import mmcae.engine.optimizers.clip as clip
import mmcae.models.selfsup.cae as cae
from mmcae.engine import NonFiniteHook
from mmcae.engine.deferred_scalars import DeferredScalars
from mmcae.engine.optimizers import OptimWrapper
from mmcae.models.layers import split_patches

TOKENIZER = dict(type='mmcae.DALLEEncoder', n_hid=8, vocab_size=24)


@pytest.fixture
def masks(monkeypatch):
    """Masks that were split on the host, where that costs nothing."""
    mask = torch.arange(16).expand(2, -1) % 2 == 0
    split = split_patches(mask, 16)
    monkeypatch.setattr(cae, 'split_patches', lambda *args: split)
    # the numbers are on a device
    monkeypatch.setattr(clip, 'is_free_to_read', lambda value: False)
    return mask


def train(masks, deferred=True, **config):
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = MODELS.build(
            cae_config(TINY, target_generator=TOKENIZER, **config)
        )
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        wrapper = OptimWrapper(optimizer, clip_grad=dict(max_norm=3.0))
        hook = NonFiniteHook()
        if deferred:
            wrapper.deferred_scalars = DeferredScalars(wrapper.message_hub)
            runner = SimpleNamespace(
                model=model,
                optim_wrapper=wrapper,
                iter=0,
                register_hook=lambda hook: None,
            )
            hook.before_train(runner)
            hook.take()
        batch = dict(
            inputs=[torch.rand(2, 3, 64, 64), torch.rand(2, 3, 32, 32)],
            data_samples=[DataSample(mask=mask) for mask in masks],
        )
        log = model.train_step(batch, wrapper)
        if deferred:
            hook.after_train_iter(runner, 0, batch, log)
            assert hook._pending is not None
        return log


@pytest.mark.parametrize('target_encoder', ['shared', 'copy'])
def test_train_step__reads_no_value_from_the_device(masks, target_encoder):
    log = train(masks, target_encoder=target_encoder)
    assert {'loss', 'main', 'align', 'acc'} <= set(log)


def test_train_step__reads_the_norm_unless_deferred(masks):
    with pytest.raises(DataDependentOutputException):
        train(masks, deferred=False)


def test_split_patches__would_wait_on_a_device():
    with (
        FakeTensorMode(),
        pytest.raises(
            (DataDependentOutputException, DynamicOutputShapeException)
        ),
    ):
        split_patches(torch.ones(2, 16, dtype=torch.bool), 16)
