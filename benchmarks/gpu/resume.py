# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Stop, resume: the next losses are those of the run that went on."""

import shutil

from .report import Report
from .runs import CAE, finish, losses_of, start, write_images
from .settings import Settings

STOP, STEPS = 20, 40
CONFIG = """
_base_ = {base!r}
data_root = {images!r}
model = dict(target_generator=dict(init_cfg=None))
train_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters={steps})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end={steps})]
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(
        by_epoch=False, interval={stop}, save_optimizer=True))
log_processor = dict(window_size=1, by_epoch=False)
randomness = dict(seed=0, deterministic=True)
"""


def run(settings: Settings, report: Report) -> None:
    folder = settings.folder('resume')
    shutil.rmtree(folder)
    images = write_images(folder / 'images')
    config = folder / 'resume.py'
    config.write_text(
        CONFIG.format(
            base=str(CAE), images=str(images), steps=STEPS, stop=STOP
        )
    )
    whole, resumed = folder / 'whole', folder / 'resumed'
    # On a GPU float16, so that the loss scaler is resumed, too.
    options, device = ('--amp',), settings.device
    finish(start(config, whole, *options, device=device), whole)
    checkpoint = whole / f'iter_{STOP}.pth'
    options += ('--resume', str(checkpoint))
    finish(start(config, resumed, *options, device=device), resumed)
    expected = losses_of(whole)
    expected = {k: v for k, v in expected.items() if k > STOP}
    found = losses_of(resumed)
    report.detail('losses', [expected, found])
    report.require('losses to compare', len(expected), least=STEPS - STOP)
    what = f'losses {STOP + 1} to {STEPS} after resuming, bitwise equal'
    report.require(what, found == expected)
    varied = len(set(expected.values())) > 1
    report.require('the losses are not all the same', varied)
