# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Compiled training runs, through the runner."""

import shutil

import pytest
import torch
from helpers import token_runs


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['aot_eager', 'inductor'])
def test_compile__gives_the_losses_of_a_run_without_it(
    photos, tmp_path, backend
):
    if backend == 'inductor' and shutil.which('g++') is None:
        pytest.skip('inductor needs a C++ compiler')
    losses = {}
    for name, setting in (
        ('plain', False),
        ('compiled', dict(backend=backend)),
    ):
        cfg = token_runs.config(
            photos,
            tmp_path / name,
            epochs=3,
            train_dataloader__drop_last=True,
            # The compiler draws other random numbers.
            model__backbone__drop_path_rate=0.0,
        )
        cfg.compile = setting
        # Nothing is compiled twice.
        with torch._dynamo.config.patch(error_on_recompile=True):
            losses[name], _ = token_runs.train(cfg)
    assert losses['compiled'] == pytest.approx(losses['plain'], rel=1e-4)


def test_compile__works_with_the_wrapper_of_the_recipes(photos, tmp_path):
    """The optimizer's step cannot be compiled and is not in the graph."""
    losses = {}
    for name in ('plain', 'compiled'):
        cfg = token_runs.config(
            photos,
            tmp_path / name,
            epochs=3,
            train_dataloader__drop_last=True,
            model__backbone__drop_path_rate=0.0,
        )
        cfg.optim_wrapper = dict(
            type='mmcae.OptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-3, fused=True),
            clip_grad=dict(max_norm=3.0),
            constructor='mmcae.MergedOptimWrapperConstructor',
        )
        cfg.compile = dict(backend='eager') if name == 'compiled' else False
        with torch._dynamo.config.patch(error_on_recompile=True):
            losses[name], _ = token_runs.train(cfg)
    assert losses['compiled'] == pytest.approx(losses['plain'], rel=1e-4)
