# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run segmentation from data to image, with the tools that users run."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import toy_project
from mmengine.registry import MODELS
from PIL import Image

import mmcae  # noqa: F401
from mmcae.config.search_path import resource_root
from mmcae.utils import load_config

pytest.importorskip('mmseg')

ROOT = resource_root()
TRAIN, TEST = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
DIST_TRAIN = ROOT / 'tools' / 'dist_train.sh'
WRITER = ROOT / 'tools' / 'dataset_converters' / 'tiny_ade.py'
DEMO = ROOT / 'demo' / 'seg_demo.py'
CONFIG = 'upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px'
PRETRAINING = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
OPTIONS = ['--cfg-options', 'data_root=data', 'checkpoint=encoder.pth']
SHORT = [
    *OPTIONS,
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=4',
    'train_dataloader.batch_size=2',
    'default_hooks.checkpoint.interval=4',
    'default_hooks.logger.interval=1',
]


def prepare(folder: Path, **sizes: int) -> None:
    """Write the dataset, and an encoder like that of pretraining."""
    writer = runpy.run_path(str(WRITER))
    writer['write_tiny_ade'](folder / 'data', **sizes)
    torch.manual_seed(0)
    encoder = MODELS.build(load_config(PRETRAINING).model.backbone)
    encoder.init_weights()
    weights = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    torch.save({'state_dict': weights}, folder / 'encoder.pth')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Train for four iterations; return the folder and the output."""
    folder = tmp_path_factory.mktemp('segmentation')
    prepare(folder, train=8, val=2)
    result = toy_project.execute(
        [sys.executable, TRAIN, CONFIG, '--work-dir', 'run', *SHORT], folder
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, result.stdout + result.stderr


def last_miou(log: str) -> float:
    return float(re.findall(r'mIoU: ([\d.]+)', log)[-1])


def test_train__loads_the_encoder_and_validates(trained):
    folder, log = trained
    (report,) = re.findall(r'Loaded into CAEViT: (.*)', log)
    assert '63 matched' in report
    assert '0 unexpected' in report
    assert re.search(r'resized: pos_embed .*17.*145', log)
    assert (folder / 'run' / 'iter_4.pth').is_file()
    assert 0 <= last_miou(log) <= 100


def test_test__slides_and_equals_the_validation_in_training(
    trained, monkeypatch
):
    from mmseg.models import EncoderDecoder

    folder, log = trained
    slide, calls = EncoderDecoder.slide_inference, []

    def counted(self, *args):
        calls.append(args)
        return slide(self, *args)

    monkeypatch.setattr(EncoderDecoder, 'slide_inference', counted)
    arguments = [CONFIG, 'run/iter_4.pth', '--work-dir', 'tested']
    arguments += ['--out', 'out.json', '--out-item', 'metrics']
    arguments += ['--cfg-options', 'data_root=data']
    assert toy_project.run_script(TEST, arguments, folder, monkeypatch) == 0
    metrics = json.loads((folder / 'out.json').read_text())
    assert metrics['mIoU'] == pytest.approx(last_miou(log))
    assert len(calls) == 2


def test_test__averages_over_scales(trained, monkeypatch):
    folder, _ = trained
    arguments = [CONFIG, 'run/iter_4.pth', '--work-dir', 'tested', '--tta']
    arguments += ['--out', 'tta.json', '--out-item', 'metrics']
    arguments += ['--cfg-options', 'data_root=data']
    assert toy_project.run_script(TEST, arguments, folder, monkeypatch) == 0
    assert 'mIoU' in json.loads((folder / 'tta.json').read_text())


def test_train__resumes(trained, monkeypatch, capfd):
    folder, _ = trained
    arguments = [CONFIG, '--work-dir', 'run', '--resume', '--no-validate']
    arguments += [*SHORT, 'train_cfg.max_iters=6']
    assert toy_project.run_script(TRAIN, arguments, folder, monkeypatch) == 0
    captured = capfd.readouterr()
    log = captured.out + captured.err
    assert 'iter: 4' in log
    steps = re.findall(r'Iter\(train\) \[(\d)/6\]  base_lr: (\S+)', log)
    # Warm-up of 20 iterations to 2e-3, then polynomial to 0 at 400.
    expected = {'5': 4, '6': 5}
    assert [step for step, _ in steps] == list(expected)
    for step, value in steps:
        i = expected[step]
        assert float(value) == pytest.approx(
            2e-3 * i / 20 * (1 - i / 400), rel=1e-3
        )


def test_demo__writes_a_picture(trained, monkeypatch):
    folder, _ = trained
    image = 'data/images/validation/tiny_validation_00000.jpg'
    arguments = [CONFIG, 'run/iter_4.pth', image, '--out-dir', 'pictures']
    arguments += ['--device', 'cpu']
    assert toy_project.run_script(DEMO, arguments, folder, monkeypatch) == 0
    picture = Image.open(folder / 'pictures' / 'vis' / Path(image).name)
    assert picture.size == (128, 96)
    labels = Image.open(folder / 'pictures' / 'pred' / '00000000_pred.png')
    assert labels.size == (128, 96)
    assert set(np.unique(labels)) <= set(range(5))


def test_demo__missing_file_gives_one_message(trained, monkeypatch, capfd):
    folder, _ = trained
    arguments = [CONFIG, 'run/iter_4.pth', 'no.jpg']
    assert toy_project.run_script(DEMO, arguments, folder, monkeypatch) == 2
    assert "error: there is no file 'no.jpg'" in capfd.readouterr().err


@pytest.mark.slow
def test_train__learns_to_segment(tmp_path, monkeypatch, capfd):
    """A model that predicts only the photograph has a mIoU of 17.5."""
    prepare(tmp_path, train=128, val=8)
    arguments = [CONFIG, '--work-dir', 'run', *OPTIONS]
    arguments += ['train_cfg.max_iters=200', 'train_cfg.val_interval=20']
    arguments += ['param_scheduler.1.end=201']
    arguments += ['default_hooks.checkpoint.interval=200']
    arguments += ['default_hooks.logger.interval=20']
    assert toy_project.run_script(TRAIN, arguments, tmp_path, monkeypatch) == 0
    captured = capfd.readouterr()
    log = captured.out + captured.err
    losses = [float(item) for item in re.findall(r' loss: ([\d.]+)', log)]
    scores = [float(item) for item in re.findall(r' mIoU: ([\d.]+)', log)]
    assert len(scores) == 10
    assert losses[-1] < 0.7 * losses[0]
    assert scores[-1] > 22 > 18 > scores[0]


@pytest.mark.slow
def test_dist_train__two_processes(tmp_path):
    prepare(tmp_path, train=8, val=3)
    sync = [
        f'model.{part}.norm_cfg.type=SyncBN'
        for part in ('neck', 'decode_head', 'auxiliary_head')
    ]
    result = toy_project.execute(
        [DIST_TRAIN, CONFIG, 2, '--work-dir', 'run', *SHORT, *sync], tmp_path
    )
    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    tested = toy_project.execute(
        [
            sys.executable,
            TEST,
            CONFIG,
            'run/iter_4.pth',
            '--out',
            'out.json',
            '--out-item',
            'metrics',
            *OPTIONS,
        ],
        tmp_path,
    )
    assert tested.returncode == 0, tested.stderr[-3000:]
    metrics = json.loads((tmp_path / 'out.json').read_text())
    # Each process validated half of the images with batch statistics of its
    # own (they are synchronized only on GPUs).
    assert metrics['mIoU'] == pytest.approx(last_miou(log), abs=1.0)
