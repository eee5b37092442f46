# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Each cost benchmark runs at the smallest size."""

import json
import subprocess
import sys

import pytest
import torch
from speed_tools import OFFICIAL_LIKE, TOOLS

import scaling  # isort: skip
import step
import tokenizer
from speed.activations import saved_bytes
from speed.batches import make_batch
from speed.lineup import build_lineup
from speed.sizes import load_size

CPU = torch.device('cpu')


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    def run(module, *options):
        argv = [module.__name__, '--out', str(tmp_path), *options]
        monkeypatch.setattr(sys, 'argv', argv)
        module.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def official():
    yield OFFICIAL_LIKE
    for name in list(sys.modules):
        if name.split('.')[0] in ('models', 'furnace', 'dall_e'):
            del sys.modules[name]


def test_lineup__all_begin_with_the_same_loss(official):
    size = load_size('tiny')
    lineup = build_lineup(size, 'fp32', CPU, with_cp=True, official=official)
    names = ['mmcae', 'mmcae, with_cp', 'mmpretrain', 'official']
    assert list(lineup) == names
    batch = make_batch(size, 2, CPU)
    losses = [i.loss(batch).item() for i in lineup.values()]
    assert losses[1:] == pytest.approx(losses[:1] * 3, rel=1e-6)
    kept = [
        saved_bytes(lambda i=i: i.loss(batch), i.weights())
        for i in lineup.values()
    ]
    assert kept[1] < kept[0] < kept[2]


def test_lineup__one_alone_or_an_unknown_name():
    size = load_size('tiny')
    for only in ('mmpretrain', 'mmcae, with_cp'):
        lineup = build_lineup(size, 'fp32', CPU, with_cp=True, only=only)
        assert list(lineup) == [only]
    with pytest.raises(ValueError, match="no 'typo'"):
        build_lineup(size, 'fp32', CPU, only='typo')


def test_step__measures_three_implementations(run, official, tmp_path):
    printed = run(
        step,
        *('--arch', 'tiny', '--rounds', '2', '--batch-sizes', '2'),
        *('--official', str(official), '--no-peaks'),
    )
    assert (tmp_path / 'step.md').read_text().strip() in printed
    result = json.loads((tmp_path / 'step.json').read_text())
    assert [r['precision'] for r in result['runs']] == ['fp32', 'bf16']
    names = {'mmcae', 'mmpretrain', 'official'}
    for found in result['runs']:
        assert set(found['steps']) == set(found['parts']) == names
        for name in names:
            assert found['steps'][name]['busy']['min'] > 0
            memory = found['memory'][name]
            assert memory['live'] >= memory['per_image'] > 0
            parts = found['parts'][name]
            assert parts['encoder']['backward'] > 0
            assert parts['tokenizer']['backward'] == 0
    # The report names no folder of this machine.
    assert str(tmp_path) not in json.dumps(result)


def test_step__stored_tokens_need_no_tokenizer(run, tmp_path):
    run(
        step,
        *('--arch', 'tiny', '--rounds', '2', '--batch-sizes', '1'),
        *('--tokens', 'stored', '--precisions', 'fp32', '--no-peaks'),
        '--no-parts',
    )
    result = json.loads((tmp_path / 'step_stored.json').read_text())
    steps = result['runs'][0]['steps']
    ours, peer, given = steps.values()
    assert ours['flops']['convolutions'] < peer['flops']['convolutions']
    assert given['flops']['convolutions'] < peer['flops']['convolutions']


def test_tokenizer__equal_weights_give_equal_tokens(run, tmp_path):
    options = ('--width', '8', '--rounds', '2', '--batch-size', '1')
    run(tokenizer, *options)
    result = json.loads((tmp_path / 'tokenizer.json').read_text())
    rows = result['tokenizers']
    assert rows['mmcae fp32']['agreement'] == 1
    assert rows['mmcae bf16']['agreement'] > 0.8


def test_scaling__writes_numbers_and_a_plot(run, tmp_path):
    options = ('--batch-sizes', '1', '2', '--grids', '4', '6')
    run(scaling, '--arch', 'tiny', '--rounds', '1', *options)
    result = json.loads((tmp_path / 'scaling.json').read_text())
    assert [p['visible'] for p in result['images']] == [8, 8, 18, 18]
    assert result['batches'][2]['predicted'] == pytest.approx(1, rel=0.02)
    assert (tmp_path / 'scaling.png').stat().st_size > 1000


@pytest.mark.slow
def test_all__writes_one_table(tmp_path):
    command = [sys.executable, str(TOOLS / 'all.py'), '--arch', 'tiny']
    command += ['--quick', '--out', str(tmp_path)]
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout
    table = (tmp_path / 'ratios.md').read_text()
    assert table in printed
    for what in ('stored tokens', 'tokenizer, bf16', 'data pipeline, fast'):
        assert what in table


@pytest.mark.slow
def test_step__peak_of_each_implementation_in_its_own_process(run, tmp_path):
    command = [sys.executable, str(TOOLS / 'step.py'), '--arch', 'tiny']
    command += ['--rounds', '1', '--no-parts', '--precisions', 'fp32']
    subprocess.run([*command, '--out', str(tmp_path)], check=True)
    result = json.loads((tmp_path / 'step.json').read_text())
    for row in result['runs'][0]['memory'].values():
        assert 1e8 < row['peak'] < 1e10
