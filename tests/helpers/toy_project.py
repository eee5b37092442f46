# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A project of a user: the files of a tiny model, a dataset and a config."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from helpers.scripts import run_as_main

PARTS = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, width=4, data_preprocessor=None):
        super().__init__(data_preprocessor=data_preprocessor)
        self.linear = torch.nn.Linear(3, width)

    def forward(self, x, y, mode='tensor'):
        out = self.linear(x).sum(1)
        if mode == 'loss':
            return dict(loss=(out - y).pow(2).mean())
        return list((out - y).abs())


@DATASETS.register_module()
class ToyData(torch.utils.data.Dataset):
    def __init__(self, data_root='here', count=8):
        if data_root == 'nowhere':
            raise FileNotFoundError(f'there is no folder {data_root}')
        self.data_root = data_root
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.data_root == 'broken':
            raise ValueError('a real bug')
        x = torch.tensor([index / 8, index % 3, 1.0])
        return dict(x=x, y=x.sum())


@METRICS.register_module()
class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(float(value) for value in data_samples)

    def compute_metrics(self, results):
        return dict(error=sum(results) / len(results), count=len(results))
"""

CONFIG = """
custom_imports = dict(imports=['toy_parts'])
default_scope = 'mmengine'
data_root = 'here'
batch_size = 4
model = dict(type='ToyModel')
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyData', data_root=data_root))
val_dataloader = train_dataloader
test_dataloader = train_dataloader
val_evaluator = dict(type='ToyMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01),
    accumulative_counts=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2)]
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=8)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
env_cfg = dict(dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)
"""


def write(folder: Path) -> Path:
    """Write the module and the config; return the path of the config."""
    (folder / 'toy_parts.py').write_text(PARTS)
    path = folder / 'toy.py'
    path.write_text(CONFIG)
    return path


def environment(folder: Path, **extra: str) -> dict[str, str]:
    """Return environment variables with which the project is importable."""
    path = [str(folder), *filter(None, [os.environ.get('PYTHONPATH')])]
    variables = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(path),
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
    )
    variables.update(extra)
    return variables


def execute(
    command: list, folder: Path, **extra: str
) -> subprocess.CompletedProcess:
    """Run a command in the folder of the project."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment(folder, **extra),
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_script(
    script: Path,
    arguments: list,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> int:
    """Run a tool inside this process; return its exit status."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(
        sys, 'argv', [str(script), *(str(item) for item in arguments)]
    )
    # mmengine names its singletons after the current second, so a run could
    # get those of an earlier run.
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    try:
        run_as_main(script)
    except SystemExit as stop:
        return 0 if stop.code is None else int(stop.code)
    return 0
