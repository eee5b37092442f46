# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Everything that ``import mmcae`` changes in mmengine and mmpretrain.

Each row of `CHANGES` says what is changed, why, until when it is needed, and
which test fails without it. A new release of OpenMMLab's packages is checked
against this one list.
"""

from collections.abc import Callable
from typing import NamedTuple

import mmcae.namespace_guard  # noqa: F401
from mmcae.checkpoint.load_with_report import register_reported_load
from mmcae.checkpoint.reading import register_safe_loader
from mmcae.checkpoint.resume import register_checked_resume
from mmcae.zoo.model_zoo import register_configs, register_zoo


class Change(NamedTuple):
    """One change in another package.

    Attributes:
        apply: Makes it; calling it again does no harm.
        what: The names that are changed.
        why: What would happen without it.
        until: When it can go.
        test: The file of the tests that name it.
    """

    apply: Callable[[], None]
    what: tuple[str, ...]
    why: str
    until: str
    test: str


CHANGES = (
    Change(
        register_zoo,
        (
            'mmpretrain.apis.model.ModelHub._register_mmpretrain_models',
            'mmpretrain.apis.model.ModelHub.get',
            'mmpretrain.inference_model',
        ),
        "get_model('cae_...') would not know our models, and two names "
        "would build mmpretrain's own; inference_model would answer with "
        'random weights',
        'mmpretrain lets a plugin register a model index over its own',
        'tests/test_zoo/test_model_zoo.py',
    ),
    Change(
        register_configs,
        (
            'mmengine.config.utils.MODULE2PACKAGE',
            'mmengine.config.config._get_package_and_cfg_path',
            'mmengine.hub.hub._get_package_and_cfg_path',
        ),
        "_base_ = 'mmcae::...' would not be found, nor an old name in it",
        'mmengine takes the name of any installed package',
        'tests/test_zoo/test_model_zoo.py',
    ),
    Change(
        register_safe_loader,
        (
            'mmengine.runner.CheckpointLoader',
            'mmengine.runner.checkpoint._safe_torch_load',
            'mmengine.runner.checkpoint.load_from_http',
        ),
        'a checkpoint could run code: mmengine falls back to full unpickling',
        'mmengine never unpickles in full',
        'tests/test_checkpoint/test_reading.py',
    ),
    Change(
        register_reported_load,
        ('mmengine.runner.checkpoint.load_state_dict',),
        'weights that do not fit an encoder would be left out silently',
        'mmengine lets a model report on its load',
        'tests/test_checkpoint/test_load_report.py',
    ),
    Change(
        register_checked_resume,
        (
            'mmengine.runner.Runner.resume',
            'mmengine.runner.FlexibleRunner.resume',
            'mmengine.infer.BaseInferencer._init_model',
        ),
        'a resumed file could remove folders, run code of its config, and '
        'crash the process by optimizer states that do not fit',
        'mmengine checks what it resumes',
        'tests/test_checkpoint/test_resume_check.py',
    ),
)


def install() -> None:
    """Make all changes."""
    for change in CHANGES:
        change.apply()
