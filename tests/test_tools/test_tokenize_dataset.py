# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fill a token store before training, with the tokens of training."""

import numpy as np
import pytest
from helpers.token_runs import config, train
from helpers.toy_project import run_script
from PIL import Image

from mmcae.config.search_path import resource_root
from mmcae.datasets import TokenStore

SCRIPT = resource_root() / 'tools/tokenize_dataset.py'


@pytest.fixture
def project(tmp_path):
    """Write a config file, and photos beside it."""
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


def test_main__fills_the_store_as_training_would(
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
    monkeypatch.setattr('mmcae.datasets.token_store.store._RESERVE', 1 << 60)
    monkeypatch.setattr(
        'shutil.disk_usage',
        lambda path: type('D', (), dict(total=1e9, free=9)),
    )
    assert run(tmp_path, monkeypatch, 'full') == 2
    assert '792 bytes of tokens do not fit' in capsys.readouterr().err


def test_main__torchrun_rank_decides_the_shard(
    project, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert run(tmp_path, monkeypatch, 'store', '--epochs', '0:1') == 0
    assert '[1/2] done: 5 views added' in capsys.readouterr().out
    store = TokenStore.open(tmp_path / 'store')
    assert store.missing(0, range(11)) == [0, 2, 4, 6, 8, 10]


def test_main__fills_the_slots_of_a_pool(
    project, tmp_path, monkeypatch, capsys
):
    pool = ['--cfg-options', 'train_dataloader.sampler.view_pool=3']
    assert run(tmp_path, monkeypatch, 'store', *pool) == 0
    assert '11 images x 3 views' in capsys.readouterr().out
    project.train_dataloader.sampler.view_pool = 3
    project.train_cfg.max_epochs = 4
    project.token_store = str(tmp_path / 'trained')
    train(project)
    for slot in range(3):
        name = f'views_{slot:05d}.bin'
        ahead = (tmp_path / 'store' / name).read_bytes()
        assert (tmp_path / 'trained' / name).read_bytes() == ahead


def test_main__stores_nothing_for_unreadable_files(
    project, tmp_path, monkeypatch, capsys
):
    (tmp_path / 'photos/04.png').write_bytes(b'no image')
    args = ['store', '--epochs', '0:1']
    for added in (10, 0):
        assert run(tmp_path, monkeypatch, *args) == 0
        printed = capsys.readouterr().out
        assert f'done: {added} views added' in printed
        assert '1 not (unreadable)' in printed
    assert TokenStore.open(tmp_path / 'store').missing(0, range(11)) == [4]


def test_main__skips_tokens_of_another_process(
    project, tmp_path, monkeypatch, capsys
):
    args = ['store', '--epochs', '0:1']
    assert run(tmp_path, monkeypatch, *args) == 0
    # This process checks the store before the other one has written.
    monkeypatch.setattr(
        TokenStore, 'missing', lambda self, slot, indices: list(indices)
    )
    capsys.readouterr()
    assert run(tmp_path, monkeypatch, *args) == 0
    printed = capsys.readouterr().out
    assert 'done: 0 views added' in printed
    assert 'unreadable' not in printed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--shard', '2/2'], 'I of I/N must be from 0 to N - 1'),
        (['--epochs', '3:3'], 'contains no epoch'),
        (
            ['--processes', '2', '--shard', '0/2'],
            '--processes and --shard exclude',
        ),
        (['--cfg-options', 'randomness.seed=None'], 'this config has none'),
        (['--cfg-options', 'train_cfg.max_epochs=None'], '--epochs 0:10'),
        (
            ['--cfg-options', 'model.target_generator=None'],
            'has no target_generator',
        ),
        (
            ['--cfg-options', 'model.data_preprocessor.second_std=[1.,1.,1.]'],
            'wants the second view',
        ),
    ],
)
def test_main__explains_config_errors(
    project, tmp_path, monkeypatch, capsys, arguments, message
):
    assert run(tmp_path, monkeypatch, 'store', *arguments) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'store/views_00000.bin').exists()


@pytest.mark.parametrize(
    ('codes', 'status'), [((0, 0, 0), 0), ((None, 2, None), 2)]
)
def test_main__starts_a_process_for_each_shard(
    project, tmp_path, monkeypatch, codes, status
):
    class Process:
        def __init__(self, command, env):
            self.command, self.env = command, env
            self.code = codes[len(started)]
            started.append(self)

        def poll(self):
            return self.code

        def terminate(self):
            self.code = -15

        wait = poll

    started = []
    monkeypatch.setattr('subprocess.Popen', Process)
    assert run(tmp_path, monkeypatch, 'store', '--processes', '3') == status
    for i, process in enumerate(started):
        assert process.command[-4:] == [
            '--processes',
            '1',
            '--shard',
            f'{i}/3',
        ]
        assert process.env['LOCAL_RANK'] == str(i)
        assert process.poll() is not None
    assert len(started) == 3
