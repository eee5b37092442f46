# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run detection from data to image, with the tools that users run."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from helpers import toy_project
from helpers.scripts import load_script
from mmengine.registry import MODELS
from PIL import Image

import mmcae  # noqa: F401
from mmcae.config.search_path import resource_root
from mmcae.utils import load_config

pytest.importorskip('mmdet.models')

tiny_coco = load_script('tools/dataset_converters/tiny_coco.py')
ROOT = resource_root()
TRAIN, TEST = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
DIST_TRAIN = ROOT / 'tools' / 'dist_train.sh'
DEMO = ROOT / 'demo' / 'det_demo.py'
CONFIG = 'mask-rcnn_tiny-p8_cae-pre_1xb8-12e_tiny-coco-96px'
PRETRAINING = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
OPTIONS = ['--cfg-options', 'data_root=data', 'checkpoint=encoder.pth']
SHORT = [
    *OPTIONS,
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
    'param_scheduler.1.end=2',
    'train_dataloader.batch_size=2',
    'default_hooks.logger.interval=1',
    'model.test_cfg.rcnn.score_thr=0.0',
]


def prepare(folder: Path, **sizes: int) -> None:
    """Write the dataset, and an encoder like that of pretraining."""
    tiny_coco.write_tiny_coco(folder / 'data', **sizes)
    torch.manual_seed(0)
    encoder = MODELS.build(load_config(PRETRAINING).model.backbone)
    encoder.init_weights()
    weights = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    torch.save({'state_dict': weights}, folder / 'encoder.pth')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Train for two epochs; return the folder and the output."""
    folder = tmp_path_factory.mktemp('detection')
    prepare(folder, train=4, val=2)
    result = toy_project.execute(
        [sys.executable, TRAIN, CONFIG, '--work-dir', 'run', *SHORT], folder
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, result.stdout + result.stderr


def scores(log: str) -> dict[str, float]:
    """Return box and mask AP of the last validation in a log."""
    found = re.findall(r'coco/((?:bbox|segm)_mAP): (-?[\d.]+)', log)
    return {name: float(value) for name, value in found[-2:]}


def test_train__loads_the_encoder_and_validates(trained):
    folder, log = trained
    (report,) = re.findall(r'Loaded into CAEViT: (.*)', log)
    assert '0 missing, 0 unexpected, 0 resized' in report
    assert (folder / 'run' / 'epoch_2.pth').is_file()
    assert scores(log).keys() == {'bbox_mAP', 'segm_mAP'}
    losses = re.findall(r'loss: ([\d.]+)', log)
    assert len(losses) >= 4


def test_test__equals_the_validation_in_training(trained, monkeypatch):
    folder, log = trained
    arguments = [CONFIG, 'run/epoch_2.pth', '--work-dir', 'tested']
    arguments += ['--out', 'out.json', '--out-item', 'metrics']
    arguments += ['--show-dir', 'pictures', '--cfg-options', 'data_root=data']
    arguments += ['model.test_cfg.rcnn.score_thr=0.0']
    assert toy_project.run_script(TEST, arguments, folder, monkeypatch) == 0
    metrics = json.loads((folder / 'out.json').read_text())
    for name, value in scores(log).items():
        assert metrics[f'coco/{name}'] == pytest.approx(value, abs=5e-4)
    # The ground truth is on the left, the prediction on the right.
    first, second = sorted((folder / 'pictures').glob('*.jpg'))
    assert first.name == '000000000001.jpg'
    with Image.open(second) as picture:
        assert picture.size == (256, 96)


def test_test__tta_of_masks_is_refused(trained, monkeypatch, capfd):
    """mmdetection can merge boxes, but not masks."""
    folder, _ = trained
    arguments = [CONFIG, 'run/epoch_2.pth', '--tta']
    assert toy_project.run_script(TEST, arguments, folder, monkeypatch) == 2
    assert 'must define tta_model' in capfd.readouterr().err


def test_train__resumes(trained, monkeypatch, capfd):
    folder, _ = trained
    arguments = [CONFIG, '--work-dir', 'run', '--resume', '--no-validate']
    arguments += [*SHORT, 'train_cfg.max_epochs=3', 'param_scheduler.1.end=3']
    assert toy_project.run_script(TRAIN, arguments, folder, monkeypatch) == 0
    captured = capfd.readouterr()
    log = captured.out + captured.err
    assert 'epoch: 2, iter: 4' in log.replace('iters', 'iter')
    steps = re.findall(
        r'Epoch\(train\) +\[(\d)\]\[(\d)/2\] +base_lr: (\S+)', log
    )
    # The rate rises from a thousandth of 2e-3 over 20 iterations.
    assert [step[:2] for step in steps] == [('3', '1'), ('3', '2')]
    for i, (_, _, value) in enumerate(steps, start=4):
        expected = 2e-3 * (0.001 + 0.999 * i / 20)
        assert float(value) == pytest.approx(expected, rel=1e-3)


def test_demo__writes_a_picture(trained, monkeypatch):
    folder, _ = trained
    image = 'data/val2017/000000000001.jpg'
    arguments = [CONFIG, 'run/epoch_2.pth', image, '--out-dir', 'drawn']
    arguments += ['--device', 'cpu', '--score', '0']
    assert toy_project.run_script(DEMO, arguments, folder, monkeypatch) == 0
    with Image.open(folder / 'drawn' / 'vis' / Path(image).name) as picture:
        assert picture.size == (128, 96)
    found = json.loads(
        (folder / 'drawn' / 'preds' / '000000000001.json').read_text()
    )
    assert found.keys() >= {'labels', 'scores', 'bboxes', 'masks'}


def test_demo__missing_file_gives_one_message(trained, monkeypatch, capfd):
    folder, _ = trained
    arguments = [CONFIG, 'run/epoch_2.pth', 'no.jpg']
    assert toy_project.run_script(DEMO, arguments, folder, monkeypatch) == 2
    assert "error: there is no file 'no.jpg'" in capfd.readouterr().err


@pytest.mark.slow
def test_train__learns_to_detect(tmp_path):
    prepare(tmp_path)
    command = [sys.executable, TRAIN, CONFIG, '--work-dir', 'run', *OPTIONS]
    command += ['train_cfg.val_interval=4', 'default_hooks.logger.interval=16']
    result = toy_project.execute(command, tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    losses = [float(item) for item in re.findall(r' loss: ([\d.]+)', log)]
    boxes = [
        float(item) for item in re.findall(r'coco/bbox_mAP: ([\d.]+)', log)
    ]
    assert len(losses) == 24
    assert losses[-1] < 0.7 * losses[0]
    assert boxes[-1] > max(0.1, boxes[0] + 0.05)


@pytest.mark.slow
def test_dist_train__two_processes(tmp_path):
    prepare(tmp_path, train=8, val=3)
    sync = [
        'model.neck.0.norm_cfg.type=SyncBN',
        'model.roi_head.bbox_head.norm_cfg.type=SyncBN',
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
            'run/epoch_2.pth',
            '--out',
            'out.json',
            '--out-item',
            'metrics',
            *OPTIONS,
            'model.test_cfg.rcnn.score_thr=0.0',
        ],
        tmp_path,
    )
    assert tested.returncode == 0, tested.stderr[-3000:]
    metrics = json.loads((tmp_path / 'out.json').read_text())
    # Both processes together validate every image.
    for name, value in scores(log).items():
        assert metrics[f'coco/{name}'] == pytest.approx(value, abs=1.1e-3)
