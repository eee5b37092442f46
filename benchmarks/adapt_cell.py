# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A cell of ``adapt_study.py``: train an encoder, and evaluate it."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from runs import REPO
from torch import Tensor, nn

from mmcae.apis.evaluating import evaluating
from mmcae.config.overrides import load_config
from mmcae.datasets import FolderDataset
from mmcae.evaluation import knn_top1
from mmcae.launch.runner import build_runner, set_loader_defaults, train
from mmcae.models import AttentiveProbeHead

sys.path.insert(0, str(REPO / 'tools/dataset_converters'))

VAL_SHARE = 0.2
FEW = 300  # images
NEIGHBORS = 10
#: The attentive probe: the values of tiny_attentive_30e.py, in steps.
BATCH, PEAK, WARMUP = 64, 0.1, 0.1


def prepare(data: Path, packages: list[Path], seeds: list[int]) -> None:
    """Write images and lists of images, unless they exist.

    Each kind of image gets ``train.txt`` and ``test.txt``, and a split of
    train into ``fit.txt`` and ``val.txt``; all drawings of one emoji are on
    the same side. ``train_300_seedN.txt`` and ``fit_300_seedN.txt`` are draws.

    Args:
        data: The folder.
        packages: The npm packages with the emoji.
        seeds: Of the draws.
    """
    if not (data / 'digits/test').is_dir():
        from digits import write_digits

        write_digits(data / 'digits', class_folders=True)
    if not (data / 'emoji/test').is_dir():
        from emoji import write_emoji

        for package in packages:
            write_emoji(data / 'emoji', package)
    for root in (data / 'digits', data / 'emoji'):
        write_lists(root, seeds)


def write_lists(root: Path, seeds: list[int], few: int = FEW) -> None:
    """Write the lists of one kind of image; see `prepare`."""
    lists = {
        split: sorted((root / split).glob('*/*.png'))
        for split in ('train', 'test')
    }
    groups = sorted({path.stem.rpartition('_')[0] for path in lists['train']})
    rng = np.random.default_rng(0)
    held = set(rng.permutation(groups)[: round(VAL_SHARE * len(groups))])
    for name in ('val', 'fit'):
        lists[name] = [
            path
            for path in lists['train']
            if (path.stem.rpartition('_')[0] in held) == (name == 'val')
        ]
    for seed in seeds:
        for name in ('train', 'fit'):
            draw = np.random.default_rng(seed).permutation(len(lists[name]))
            lists[f'{name}_{few}_seed{seed}'] = [
                lists[name][i] for i in sorted(draw[:few])
            ]
    for name, paths in lists.items():
        lines = (path.relative_to(root).as_posix() for path in paths)
        (root / f'{name}.txt').write_text('\n'.join(lines) + '\n')


def run(
    config: str,
    options: dict[str, Any],
    folder: Path,
    trains: bool,
    lists: tuple[Path, Path],
    probe_steps: int,
    probes: int,
) -> dict[str, float]:
    """Make an encoder, train it if it is to be trained, and evaluate it.

    Args:
        config: Name of the recipe.
        options: What the cell changes in it.
        folder: For the log of a training.
        trains: Whether to train.
        lists: The images that probes are fitted on, and those to test with.
        probe_steps: Steps of the attentive probe.
        probes: Number of attentive probes, which differ in their seeds.

    Returns:
        ``knn`` and ``attentive``, accuracies in %; and with training,
        ``cpu`` and ``images_seen``.
    """
    cfg = load_config(config, options)
    cfg.launcher, cfg.work_dir = 'none', str(folder)
    set_loader_defaults(cfg)
    result: dict[str, float] = {}
    if trains:
        start = time.process_time()
        runner = build_runner(cfg)
        train(runner)
        result['cpu'] = round(time.process_time() - start, 1)
        batch = cfg.train_dataloader.batch_size
        result['images_seen'] = runner.iter * batch
        model = runner.model
    else:
        model = without_training(cfg)
    sets = [encode(model, path) for path in lists]
    return {**evaluate(sets, cfg, probe_steps, probes), **result}


def without_training(cfg: Config) -> nn.Module:
    """The model that a training would begin with."""
    torch.manual_seed(cfg.randomness.seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    if cfg.load_from:
        load_checkpoint(model, cfg.load_from, map_location='cpu')
    return model


@torch.no_grad()
def encode(model: Any, list_file: Path) -> tuple[Tensor, Tensor]:
    """Encode the images of a list, without augmentation.

    Returns:
        Class token and patch tokens ``(N, 1 + L, D)``, and the classes
        ``(N,)``.
    """
    side = min(model.backbone.img_size)
    dataset = FolderDataset(
        str(list_file.parent),
        list_file=str(list_file),
        test_mode=True,
        pipeline=[
            dict(type='mmcae.LoadImage'),
            dict(
                type='mmpretrain.Resize',
                scale=side,
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='mmpretrain.PackInputs'),
        ],
    )
    names = [path.split('/')[1] for path in list_file.read_text().split()]
    # Every list has all classes, because the draws are large.
    index = {name: i for i, name in enumerate(sorted(set(names)))}
    tokens = []
    with evaluating(model):
        for start in range(0, len(dataset), 128):
            stop = min(start + 128, len(dataset))
            batch = default_collate([dataset[i] for i in range(start, stop)])
            batch['inputs'] = [batch['inputs'], batch['inputs']]
            inputs = model.data_preprocessor(batch, training=False)['inputs']
            tokens.append(model.extract_feat(inputs)[-1].float())
    return torch.cat(tokens), torch.tensor([index[name] for name in names])


def evaluate(
    sets: list[tuple[Tensor, Tensor]], cfg: Config, steps: int, probes: int
) -> dict[str, float]:
    """Accuracies in % of nearest neighbors and of the attentive probe.

    Args:
        sets: Tokens and classes to fit on, and to test with.
        cfg: With the seed and the number of heads.
        steps: Of the attentive probe.
        probes: Number of attentive probes; the result is their mean.

    Raises:
        ValueError: If the two sets do not have the same classes.
    """
    (x, y), (x_test, y_test) = sets
    if len(y.unique()) != len(y_test.unique()):
        raise ValueError(
            f'{len(y.unique())} classes to fit on, {len(y_test.unique())} to '
            'test with: draw more images'
        )
    pooled = x[:, 1:].mean(1), y, x_test[:, 1:].mean(1), y_test
    heads = cfg.model.backbone.arch.num_heads
    attentive = [
        attentive_accuracy(sets, heads, steps, 10 * cfg.randomness.seed + i)
        for i in range(probes)
    ]
    return dict(
        knn=100 * knn_top1(*pooled, k=NEIGHBORS),
        attentive=100 * float(np.mean(attentive)),
    )


def attentive_accuracy(
    sets: list[tuple[Tensor, Tensor]], heads: int, steps: int, seed: int
) -> float:
    """Train the attentive head on stored tokens; its accuracy, 0 to 1."""
    (x, y), (x_test, y_test) = sets
    torch.manual_seed(seed)
    head = AttentiveProbeHead(
        int(y.max()) + 1,
        x.shape[-1],
        heads,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    )
    head.init_weights()
    optimizer = torch.optim.SGD(
        head.parameters(), PEAK, momentum=0.9, nesterov=True
    )
    rises = max(1, round(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1e-3, 1.0, rises),
            torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, max(1, steps - rises)
            ),
        ],
        [rises],
    )
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(x))])
        batch, order = order[:BATCH], order[BATCH:]
        optimizer.zero_grad()
        F.cross_entropy(head((x[batch],)), y[batch]).backward()
        optimizer.step()
        schedule.step()
    head.eval()
    with torch.no_grad():
        return (head((x_test,)).argmax(1) == y_test).float().mean().item()


def in_child(log: Path, *args: Any) -> dict[str, float]:
    """Call `run` with its output in a file; the target of a process."""
    torch.set_num_threads(1)
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(log, 'w') as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        return run(*args)
