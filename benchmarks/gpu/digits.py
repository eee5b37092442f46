# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The digits recipe in bfloat16 reaches what float32 on a CPU reaches."""

import shutil
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmcae.evaluation.probe import probe

from .report import Report, SkipCheck
from .runs import CAE, TOKENIZER, checkpoint_of, finish, start, write_images
from .settings import Settings

# A quarter of the recipe: both reach the same, and ten minutes are short.
EPOCHS = 20
POINTS = 1.0


def run(settings: Settings, report: Report) -> None:
    if not settings.cuda and not settings.long:
        raise SkipCheck('trains for minutes on a CPU: give --long')
    folder = settings.folder('digits')
    shutil.rmtree(folder)
    images = write_images(folder / 'images')
    tokenizer = folder / 'tokenizer'
    root = f'data_root={images}'
    process = start(
        TOKENIZER, tokenizer, '--cfg-options', root, device=settings.device
    )
    finish(process, tokenizer)
    options = [root, f'tokenizer={checkpoint_of(tokenizer)}']
    options += [f'max_epochs={EPOCHS}']
    half = ['optim_wrapper.type=mmcae.AmpOptimWrapper']
    half += ['+optim_wrapper.dtype=bfloat16']
    runs = dict(cpu=('cpu', []), half=(settings.device, half))
    processes = {
        name: start(
            CAE,
            folder / name,
            '--cfg-options',
            *options,
            *more,
            device=device,
        )
        for name, (device, more) in runs.items()
    }
    for name, process in processes.items():
        finish(process, folder / name)
    accuracies = {
        name: accuracy(checkpoint_of(folder / name)) for name in runs
    }
    random = accuracy(None)
    report.note('probe, random encoder, %', random)
    report.note('probe, CPU, float32, %', accuracies['cpu'])
    report.note('probe, bfloat16, %', accuracies['half'])
    lost = accuracies['cpu'] - accuracies['half']
    report.require('points that bfloat16 loses', lost, most=POINTS)


def accuracy(checkpoint: Path | None) -> float:
    """Accuracy in % of a logistic probe that sees all training labels."""
    from digits import split_indices
    from sklearn.datasets import load_digits

    cfg = Config.fromfile(CAE)
    cfg.model.target_generator.pop('init_cfg')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    model.init_weights()
    if checkpoint is not None:
        saved = torch.load(checkpoint, 'cpu', weights_only=False)
        model.load_state_dict(saved['state_dict'])
    model.eval()
    data = load_digits()
    pixels = torch.from_numpy(data.images).float()[:, None]
    pixels = torch.nn.functional.interpolate(
        255 / 16 * pixels, size=32, mode='bicubic', align_corners=False
    )
    preprocessor = cfg.model.data_preprocessor
    images = (pixels - preprocessor.mean[0]) / preprocessor.std[0]
    with torch.no_grad():
        tokens = model.extract_feat(images.expand(-1, 3, -1, -1))[-1]
    features = tokens[:, 1:].mean(1).numpy().astype(np.float64)
    splits = split_indices()
    train, test = splits['train'], splits['test']
    labels = data.target
    found = probe(
        features[train],
        labels[train],
        features[test],
        labels[test],
        num_labels=len(train),
    )
    return 100 * found['logistic']
