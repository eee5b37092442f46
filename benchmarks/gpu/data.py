# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How long the device waits for images, by the number of workers."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from sklearn.datasets import load_sample_images
from speed.clock import Clock
from speed.sizes import RECIPES

from mmcae.config.search_path import find_config
from mmcae.launch.runner import set_loader_defaults

from .models import Trained, size_of
from .report import Report
from .settings import Settings

# ImageNet's images: about 500 x 375 pixels, 110 kB.
WIDTH, HEIGHT, QUALITY = 500, 375, 98


def run(settings: Settings, report: Report) -> None:
    folder = settings.folder('data')
    shutil.rmtree(folder)
    made = settings.pick(256, 8)
    batch_size = settings.pick(256, 4)
    steps = settings.pick(10, 3)
    number = batch_size * (steps + 3)
    mean = write_images(folder / 'images', made, number)
    report.note('mean size of an image, kB', mean / 1e3)
    report.note('cores', os.cpu_count())
    for workers in (4, 8, 16) if settings.cuda else (0, 2):
        loader = build_loader(folder / 'images', workers, batch_size)
        if not settings.cuda and workers == 0:
            _count(report, loader, batch_size)
        _train(settings, report, loader, workers, steps, batch_size)
        del loader


def write_images(folder: Path, made: int, number: int) -> float:
    """Write JPEGs of ImageNet's size; returns their mean bytes.

    Args:
        folder: Where; made if it is missing.
        made: How many different ones.
        number: How many files there are in the end: the others are links.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = load_sample_images().images
    rng = np.random.default_rng(0)
    files = []
    for i in range(made):
        photo = photos[i % len(photos)]
        top = int(rng.integers(photo.shape[0] - HEIGHT + 1))
        left = int(rng.integers(photo.shape[1] - WIDTH + 1))
        part = photo[top : top + HEIGHT, left : left + WIDTH]
        path = folder / f'{i:05d}.jpg'
        Image.fromarray(part).save(path, quality=QUALITY)
        files.append(path)
    for i in range(made, number):
        os.link(files[i % made], folder / f'{i:05d}.jpg')
    return float(np.mean([path.stat().st_size for path in files]))


def build_loader(folder: Path, workers: int, batch_size: int) -> Any:
    """The recipe's data loader over a folder."""
    cfg = Config.fromfile(find_config(RECIPES['base']))
    loader = cfg.train_dataloader
    pipeline = loader.dataset.pipeline
    loader.dataset = dict(
        type='mmcae.FolderDataset', data_root=str(folder), pipeline=pipeline
    )
    loader.batch_size, loader.num_workers = batch_size, workers
    loader.drop_last = True
    set_loader_defaults(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return Runner.build_dataloader(cfg.train_dataloader, seed=0)


def _count(report: Report, loader: Any, batch_size: int) -> None:
    """Require whole batches of the right shape."""
    batch = next(iter(loader))
    views = [tuple(view[0].shape) for view in batch['inputs']]
    report.note('views', str(views))
    good = len(batch['data_samples']) == batch_size
    report.require('a batch is complete', good)


def _train(
    settings: Settings,
    report: Report,
    loader: Any,
    workers: int,
    steps: int,
    batch_size: int,
) -> None:
    """Train on what the loader gives, and once more on one resident batch."""
    device, precision = settings.torch_device, settings.half[0]
    cfg = Config.fromfile(find_config(RECIPES['base']))
    size = size_of(settings, precision)
    ours = None
    if settings.cuda:
        ours = Trained(size, precision, device)
        ours.model.data_preprocessor = MODELS.build(
            cfg.model.data_preprocessor
        ).to(device)
    else:
        # The tiny model takes smaller views: a product stands for a step.
        weight = torch.randn(256, 256)

    def step(batch: dict) -> None:
        if ours is not None:
            ours.train_step(batch, ours.wrapper)
        else:
            for _ in range(5):
                weight @ weight

    waited, start, batch = 0.0, 0.0, None
    batches = iter(loader)
    for index in range(steps + 3):
        if index == 2:  # workers have begun, kernels are chosen
            _synchronize(settings)
            start, waited = time.perf_counter(), 0.0
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        step(batch)
    _synchronize(settings)
    whole = time.perf_counter() - start
    assert batch is not None
    clock = Clock(device)
    alone = min(clock(lambda: step(batch))[1] for _ in range(3))
    counted = steps + 1
    idle = max(0.0, 1 - counted * alone / whole)
    text = f'{workers} workers: '
    report.note(text + 'images/s', counted * batch_size / whole)
    report.note(text + 'share of time that the host waits', waited / whole)
    report.note(text + 'share of time that the device waits', idle)
    if settings.cuda and workers == 16:
        report.goal(text + 'the device waits', idle, most=0.05)


def _synchronize(settings: Settings) -> None:
    if settings.cuda:
        torch.cuda.synchronize()
