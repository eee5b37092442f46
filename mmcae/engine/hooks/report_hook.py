# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a run was made of when it starts, and a page when it ends."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmcae.apis.report import write_report
from mmcae.apis.run_facts import write_facts
from mmcae.registry import HOOKS


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes ``WORK_DIR/report.html`` when a training ends.

    See `mmcae.apis.report.write_report`. What the run is made of (command,
    versions, commits, hashes of data and tokenizer) is written when it
    starts, into ``run.json`` beside the log. A file that cannot be written
    costs a warning, not the run.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Any) -> None:
        """Write what the run is made of."""
        if not is_main_process():
            return
        try:
            write_facts(runner)
        except Exception as error:
            runner.logger.warning(
                f'What the run is made of was not written: {error}'
            )

    def after_train(self, runner: Any) -> None:
        """Write the page."""
        if not is_main_process():
            return
        try:
            path = write_report([Path(runner.work_dir)], status='done')
        except Exception as error:
            runner.logger.warning(f'No report was written: {error}')
        else:
            runner.logger.info(f'Report: {path}')
