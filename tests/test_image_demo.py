# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The demo that classifies an image, with a tiny untrained classifier."""

from pathlib import Path

import pytest
import torch
from helpers import toy_project
from mmengine.config import Config
from mmpretrain import get_model
from PIL import Image

import mmcae
from mmcae.config.search_path import find_config

DEMO = Path(mmcae.__file__).parents[1] / 'demo'
FINETUNED = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'


@pytest.fixture
def run_dir(tmp_path):
    """Config and checkpoint, as a fine-tuning leaves them."""
    config = Config.fromfile(find_config(FINETUNED))
    config.model.backbone.arch = dict(
        embed_dims=24,
        num_layers=2,
        num_heads=2,
        feedforward_channels=48,
    )
    config.model.head.update(in_channels=24, num_classes=2)
    config.dump(tmp_path / 'tiny.py')
    state = get_model(config).state_dict()
    state['head.fc.weight'].zero_()
    state['head.fc.bias'] = torch.tensor([0.0, 2.0])
    meta = dict(dataset_meta=dict(classes=['flower', 'temple']))
    torch.save(dict(state_dict=state, meta=meta), tmp_path / 'tiny.pth')
    del state['head.fc.bias']
    torch.save(dict(state_dict=state, meta=meta), tmp_path / 'headless.pth')
    return tmp_path


def run_demo(arguments, folder, monkeypatch) -> int:
    script = DEMO / 'image_demo.py'
    return toy_project.run_script(script, arguments, folder, monkeypatch)


def test_demo__prints_classes_and_draws_the_result(
    run_dir, monkeypatch, capsys
):
    arguments = [DEMO / 'demo.jpg', 'tiny.py', 'tiny.pth']
    assert run_demo(arguments, run_dir, monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if 'temple' in line)
    assert '88.' in lines[first]  # e^2 / (1 + e^2)
    assert 'flower' in lines[first + 1]
    with Image.open(run_dir / 'work_dirs/image_demo/demo.png') as picture:
        assert picture.size == (480, 320)


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (['no.jpg', 'tiny.py', 'tiny.pth'], 2, 'no image no.jpg'),
        ([DEMO / 'demo.jpg', 'tiny.py', 'no.pth'], 2, 'no.pth'),
        (
            [DEMO / 'demo.jpg', 'tiny.py', 'headless.pth'],
            2,
            "not hold the weights of 'tiny': missing keys in source "
            'state_dict: head.fc.bias',
        ),
        (
            [
                DEMO / 'demo.jpg',
                'cae_tiny-p8_1xb32-coslr-80e_digits-32px',
                'tiny.pth',
            ],
            2,
            'is a CAE, not a classifier',
        ),
    ],
)
def test_demo__answers_a_mistake_with_one_sentence(
    arguments, status, message, run_dir, monkeypatch, capsys
):
    assert run_demo(arguments, run_dir, monkeypatch) == status
    text = capsys.readouterr().err
    assert message in text
    assert 'Traceback' not in text
