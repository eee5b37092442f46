# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Add test-time augmentation to a config."""

import copy

from mmengine.config import Config, ConfigDict

from mmcae.config.overrides import ConfigError


def add_flip_tta(cfg: Config) -> None:
    """Let a config test with augmented images.

    The config's ``tta_pipeline`` and ``tta_model`` replace its test pipeline
    and model. A classification config without them averages the scores of an
    image and its mirror image.

    Raises:
        ConfigError: If one of them is missing and the config is not for
            classification.
    """
    scope = cfg.get('default_scope')
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        if scope not in ('mmpretrain', 'mmcae'):
            raise ConfigError(
                f"--tta: a config of scope '{scope}' must define tta_model "
                'and tta_pipeline'
            )
        cfg.setdefault(
            'tta_model', ConfigDict(type='mmpretrain.AverageClsScoreTTA')
        )
    if 'tta_pipeline' not in cfg:
        pipeline = copy.deepcopy(cfg.test_dataloader.dataset.pipeline)
        flips = [
            dict(type='mmpretrain.RandomFlip', prob=prob)
            for prob in (1.0, 0.0)
        ]
        pipeline[-1] = dict(
            type='TestTimeAug', transforms=[flips, [pipeline[-1]]]
        )
        cfg.tta_pipeline = pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:  # wrappers
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline
