# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every training of this package is safe: no recipe loses a hook or loop."""

import functools

from mmengine.config import Config

from mmcae.config.search_path import resource_root


@functools.cache
def recipes() -> dict[str, Config]:
    """All configs that can be trained, by name."""
    folder = resource_root() / 'configs'
    files = [p for p in folder.rglob('*.py') if '_base_' not in p.parts]
    assert len(files) > 40
    return {path.stem: Config.fromfile(path) for path in sorted(files)}


def test_configs__save_safely_and_resume_exactly(subtests):
    for name, cfg in recipes().items():
        with subtests.test(name):
            hooks = cfg.default_hooks
            assert hooks.checkpoint.type == 'mmcae.CheckpointHook'
            assert hooks.signal.type == 'mmcae.SignalHook'
            assert hooks.stall.type == 'mmcae.StallHook'
            assert cfg.train_cfg.type in (
                'mmcae.EpochBasedTrainLoop',
                'mmcae.IterBasedTrainLoop',
            )


def test_configs__skip_numbers_that_are_not_finite(subtests):
    for name, cfg in recipes().items():
        with subtests.test(name):
            hooks, wrapper = cfg.default_hooks, cfg.optim_wrapper
            assert hooks.non_finite.type == 'mmcae.NonFiniteHook'
            assert hooks.runtime_info.type == 'mmcae.RuntimeInfoHook'
            assert wrapper.type in (
                'mmcae.OptimWrapper',
                'mmcae.AmpOptimWrapper',
            )
            # No step makes the host wait: it is skipped on the device. A
            # loss scaler reads the gradients of SGD in any case, and the
            # small recipes run on CPUs.
            optimizer = wrapper.optimizer
            assert optimizer.type in ('AdamW', 'mmcae.LARS', 'SGD')
            small = name.endswith(('32px', '48px', '96px'))
            scaled = wrapper.type == 'mmcae.AmpOptimWrapper'
            if optimizer.type == 'AdamW':
                assert optimizer.get('fused') or small
            if optimizer.type == 'SGD':
                assert scaled or small
