# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Filling a token store ahead gives what training would store."""

import numpy as np
import pytest
from PIL import Image
from token_runs import config, train
from toy_project import run_script

from mmcae.utils.paths import resource_root

SCRIPT = resource_root() / 'tools/tokenize_dataset.py'


@pytest.fixture
def project(tmp_path):
    """A config file; its photos are beside it."""
    rng = np.random.default_rng(0)
    (tmp_path / 'photos').mkdir()
    for i in range(11):
        pixels = rng.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'photos/{i:02d}.png')
    cfg = config(tmp_path / 'photos', tmp_path / 'run', epochs=2)
    cfg.dump(tmp_path / 'tiny.py')
    return cfg


def run(folder, monkeypatch, *arguments):
    arguments = ['tiny.py', *arguments, '--num-workers', '0']
    return run_script(SCRIPT, arguments, folder, monkeypatch)


def test_main__fills_what_training_would(
    project, tmp_path, monkeypatch, capsys
):
    assert run(tmp_path, monkeypatch, 'ahead', '--batch-size', '4') == 0
    printed = capsys.readouterr().out
    assert '11 images x 2 epochs x 36 bytes: 792 bytes to fill' in printed
    assert 'done: 22 views added' in printed
    for shard in ('1/2', '0/2', '0/2'):
        assert run(tmp_path, monkeypatch, 'parts', '--shard', shard) == 0
    printed = capsys.readouterr().out
    assert '[1/2] done: 10 views added' in printed
    assert '[0/2] done: 12 views added' in printed
    assert '[0/2] done: 0 views added' in printed
    project.token_store = str(tmp_path / 'trained')
    train(project)
    for slot in range(2):
        name = f'views_{slot:05d}.bin'
        ahead = (tmp_path / 'ahead' / name).read_bytes()
        assert (tmp_path / 'parts' / name).read_bytes() == ahead
        assert (tmp_path / 'trained' / name).read_bytes() == ahead


def test_main__refuses(project, tmp_path, monkeypatch, capsys):
    pool = ['--cfg-options', 'train_dataloader.sampler.view_pool=3']
    args = ['store', '--epochs', '0:1']
    assert run(tmp_path, monkeypatch, *args) == 0
    assert run(tmp_path, monkeypatch, *args, *pool) == 2
    assert 'view_pool: the store has 0, this run has 3' in (
        capsys.readouterr().err
    )
    args = ['other', '--epochs', '2:4', *pool]
    assert run(tmp_path, monkeypatch, *args) == 2
    assert 'the pool has only 3 slots' in capsys.readouterr().err
    monkeypatch.setattr('mmcae.datasets.token_store._RESERVE', 1 << 60)
    monkeypatch.setattr(
        'shutil.disk_usage',
        lambda path: type('D', (), dict(total=1e9, free=9)),
    )
    assert run(tmp_path, monkeypatch, 'full') == 2
    assert '792 bytes of tokens do not fit' in capsys.readouterr().err
