# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Resume: every ``resume`` of mmengine's runners checks the file first."""

import functools
from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook
from mmengine.infer import BaseInferencer
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

from mmcae.checkpoint.plain_values import ResumeError
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.resume_check import (
    check_resume,
    check_unexpected,
)
from mmcae.checkpoint.unwrap import unwrap

_REMEDY = (
    'Resume with the config and the file of the same run. To begin a new run '
    'from its weights, use load_from=FILE without resume.'
)


class _CheckHook(Hook):
    """Checks the checkpoint before other hooks and the model get it."""

    priority = 'HIGHEST'

    def __init__(self, source: str, **parts: bool) -> None:
        self.source = source
        self.parts = parts

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        check_resume(runner, checkpoint, self.source, **self.parts)


def register_checked_resume() -> None:
    """Make every resume of an mmengine process check the file first.

    mmengine has no registration for it. A hook sees the loaded checkpoint,
    but not whether the run is resumed, or from which file.
    """
    for runner in (Runner, FlexibleRunner):
        if not hasattr(runner.resume, 'checked_by_mmcae'):
            runner.resume = _checked(runner.resume)  # type: ignore
    if not hasattr(BaseInferencer._init_model, 'checked_by_mmcae'):
        BaseInferencer._init_model = _with_given_config(  # type: ignore
            BaseInferencer._init_model
        )


def _checked(resume: Callable) -> Callable:
    @functools.wraps(resume)
    def checked_resume(
        self: Any,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'default',
    ) -> None:
        hook = _CheckHook(
            str(filename),
            optimizer=resume_optimizer,
            schedulers=resume_param_scheduler,
        )
        self.register_hook(hook)
        handle = unwrap(self.model).register_load_state_dict_post_hook(
            lambda _, keys: check_unexpected(keys.unexpected_keys)
        )
        fault = None
        try:
            resume(
                self,
                filename,
                resume_optimizer,
                resume_param_scheduler,
                map_location,
            )
        except ResumeError as error:
            fault = str(error)
        finally:
            handle.remove()
            self.hooks.remove(hook)
        if fault is not None:
            raise ResumeError(
                f'Cannot resume from {printable(str(filename), 1000)}: '
                f'{fault}. {_REMEDY}'
            )

    checked_resume.checked_by_mmcae = True  # type: ignore[attr-defined]
    return checked_resume


def _with_given_config(init_model: Callable) -> Callable:
    """Refuse to build a model from the config inside a checkpoint.

    mmengine would execute this config as Python code.
    """

    @functools.wraps(init_model)
    def checked_init_model(
        self: Any, cfg: Any, weights: str | None, *args: Any, **kwargs: Any
    ) -> Any:
        if not cfg:
            raise ValueError(
                'Without a config, mmengine would run the one inside '
                f'{printable(weights, 1000)} as Python code. Give the config '
                'as model=CONFIG. If you trust the file, its config is '
                "read_checkpoint(FILE)['meta']['cfg'] "
                '(mmcae.checkpoint.reading).'
            )
        return init_model(self, cfg, weights, *args, **kwargs)

    checked_init_model.checked_by_mmcae = True  # type: ignore[attr-defined]
    return checked_init_model
