# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every training of this package is safe: no recipe loses a hook or loop."""

from mmengine.config import Config

from mmcae.config.search_path import resource_root


def test_configs__save_safely_and_resume_exactly(subtests):
    folder = resource_root() / 'configs'
    files = [p for p in folder.rglob('*.py') if '_base_' not in p.parts]
    assert len(files) > 40
    for path in sorted(files):
        with subtests.test(path.stem):
            cfg = Config.fromfile(path)
            hooks = cfg.default_hooks
            assert hooks.checkpoint.type == 'mmcae.CheckpointHook'
            assert hooks.signal.type == 'mmcae.SignalHook'
            assert hooks.stall.type == 'mmcae.StallHook'
            assert cfg.train_cfg.type in (
                'mmcae.EpochBasedTrainLoop',
                'mmcae.IterBasedTrainLoop',
            )
