# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The normalization of images that a checkpoint records."""

import json

import pytest
import torch
from helpers.converters import run_tool
from helpers.recordings import Recording
from safetensors import safe_open

from mmcae.checkpoint.normalization import recorded_normalization
from mmcae.utils import from_official, load_config

DIGITS = dict(mean=[0.3] * 3, std=[0.35] * 3)
IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
PROBE = 'tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px'


def test_recorded_normalization__of_a_run(subtests):
    for config, expected in (
        (PROBE, DIGITS),
        ('cae_tiny-p8_1xb32-coslr-80e_digits-32px', DIGITS),
        ('cae_beit-base-p16_8xb256-amp-coslr-300e_in1k', IMAGENET),
        ('beit-base-p16_cae-pre_8xb128-coslr-100e_in1k', IMAGENET),
    ):
        with subtests.test(config=config):
            meta = dict(cfg=load_config(config).pretty_text)
            assert recorded_normalization(dict(meta=meta)) == expected


def test_recorded_normalization__of_a_written_file():
    for value in (DIGITS, json.dumps(DIGITS)):
        meta = dict(meta=dict(normalization=value))
        assert recorded_normalization(meta) == DIGITS


def test_recorded_normalization__unknown(subtests):
    for meta in (
        None,
        [],
        {},
        dict(cfg=3),
        dict(cfg='a = ('),
        dict(cfg='(' * 100_000),
        dict(cfg='data_preprocessor = dict(mean=[1, 2, 3])'),
        dict(cfg="data_preprocessor = dict(mean='a', std='b', to_rgb=True)"),
        dict(cfg='data_preprocessor = dict(mean=[1], std=[1], to_rgb=True)'),
        # the channels are in the order BGR
        dict(cfg='data_preprocessor = dict(mean=[1, 2, 3], std=[1, 1, 1])'),
        dict(normalization='['),
        dict(normalization=dict(mean=[1, 2, True], std=[1, 1, 1])),
    ):
        with subtests.test(meta=str(meta)[:60]):
            assert recorded_normalization(dict(meta=meta)) is None


def test_recorded_normalization__runs_nothing(tmp_path):
    mark = tmp_path / 'mark'
    text = f"""
import pathlib
x = pathlib.Path({str(mark)!r}).touch()
data_preprocessor = dict(
    mean=[76.5, 76.5, open({str(mark)!r}, 'w') and 76.5],
    std=[89.25] * 3, to_rgb=True)
"""
    assert recorded_normalization(dict(meta=dict(cfg=text))) is None
    assert not mark.exists()


@pytest.fixture
def trained(tmp_path):
    """A classifier, stored as a run on the digits stores it."""
    state = from_official(
        Recording('evaluation_tiny').group('finetune/weights')
    )
    path = tmp_path / 'trained.pth'
    meta = dict(cfg=load_config(PROBE).pretty_text)
    torch.save({'state_dict': state, 'meta': meta}, path)
    return path


def test_mmcae_to_timm__prints_the_checkpoints_own(trained, tmp_path):
    target = tmp_path / 'timm.safetensors'
    printed = run_tool('mmcae_to_timm', trained, target)
    assert f'# Images: RGB in 0..1, then {DIGITS}' in printed
    assert '0.485' not in printed
    with safe_open(target, 'pt') as file:
        assert json.loads(file.metadata()['normalization']) == DIGITS


def test_mmcae_to_mmpretrain__prints_the_checkpoints_own(trained, tmp_path):
    printed = run_tool('mmcae_to_mmpretrain', trained, tmp_path / 'mm.pth')
    names = {}
    exec(printed, names)
    expected = dict(mean=[76.5] * 3, std=[89.25] * 3, to_rgb=True)
    assert names['data_preprocessor'] == expected


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_converters__a_published_file_still_knows(trained, tmp_path, suffix):
    run_tool('publish_model', trained, tmp_path / f'weights.{suffix}')
    (published,) = tmp_path.glob(f'weights-*.{suffix}')
    printed = run_tool('mmcae_to_timm', published, tmp_path / 'timm.pth')
    assert f'then {DIGITS}' in printed


@pytest.mark.parametrize('name', ['mmcae_to_timm', 'mmcae_to_mmpretrain'])
def test_converters__say_when_it_is_unknown(tmp_path, name):
    weights = Recording('evaluation_tiny').group('finetune/weights')
    source = tmp_path / 'official.pth'
    torch.save({'model': weights}, source)
    target = tmp_path / 'out.safetensors'
    printed = run_tool(name, source, target)
    assert 'does not record how images were normalized' in printed
    with safe_open(target, 'pt') as file:
        assert 'normalization' not in file.metadata()
