# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A work dir belongs to one run, and is never started over silently."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from helpers import toy_project
from mmengine.config import Config

from mmcae.checkpoint.durable import DurableBackend
from mmcae.checkpoint.errors import CheckpointError
from mmcae.config.overrides import ConfigError
from mmcae.launch import work_dir
from mmcae.launch.work_dir import claim_work_dir, resume_newest

TRAIN = Path(__file__).parents[2] / 'tools/train.py'


@pytest.fixture(autouse=True)
def no_locks(monkeypatch):
    monkeypatch.setattr(work_dir, '_locks', {})
    monkeypatch.delenv('RANK', raising=False)


@pytest.fixture
def used(tmp_path):
    """A work dir with two checkpoints that have no optimizer."""
    backend = DurableBackend()
    for number in (1, 2):
        backend.put(b'content', tmp_path / f'epoch_{number}.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_2.pth')
    (tmp_path / 'best_acc_epoch_1.pth').write_bytes(b'best')
    return tmp_path


def config(folder, **more) -> Config:
    return Config(dict(work_dir=str(folder), **more))


def test_claim__takes_a_new_or_empty_folder(tmp_path):
    claim_work_dir(config(tmp_path / 'new' / 'run'))
    assert (tmp_path / 'new' / 'run').is_dir()
    (tmp_path / 'notes.txt').write_text('mine')
    claim_work_dir(config(tmp_path))


def test_claim__refuses_checkpoints_of_a_former_run(used):
    match = r'epoch_2.pth is the newest.*--resume.*--overwrite'
    with pytest.raises(ConfigError, match=match):
        claim_work_dir(config(used))
    assert len(list(used.glob('epoch_*.pth'))) == 2


def test_claim__is_silent_when_resuming(used, capsys):
    claim_work_dir(config(used, resume=True))
    assert capsys.readouterr().out == ''


def test_overwrite__removes_nothing_before_the_training_begins(used):
    (hook,) = claim_work_dir(config(used), overwrite=True)
    assert len(list(used.glob('epoch_*.pth'))) == 2
    hook.before_train(mock.Mock())
    left = {path.name for path in used.iterdir()}
    assert left == {'best_acc_epoch_1.pth', '.lock'}


@pytest.mark.parametrize('options', ['data_root=nowhere', 'model.type=No'])
def test_overwrite__a_mistake_costs_no_checkpoint(
    tmp_path, monkeypatch, options
):
    toy_project.write(tmp_path)
    arguments = ['toy.py', '--no-validate', '--work-dir', 'run']

    def train(*more: str) -> int:
        return toy_project.run_script(
            TRAIN, [*arguments, *more], tmp_path, monkeypatch
        )

    assert train() == 0
    before = (tmp_path / 'run/epoch_2.pth').read_bytes()
    assert train() == 2
    assert train('--overwrite', '--cfg-options', options) != 0
    assert (tmp_path / 'run/epoch_2.pth').read_bytes() == before
    shorter = ('--cfg-options', 'train_cfg.max_epochs=1')
    assert train('--overwrite', *shorter) == 0
    names = sorted(path.name for path in (tmp_path / 'run').glob('*.pth'))
    assert names == ['epoch_1.pth']


def test_claim__removes_unfinished_files_of_a_killed_run(tmp_path, capsys):
    unfinished = tmp_path / '.epoch_3.pth.4711.part'
    unfinished.write_bytes(b'half a checkpoint')
    (tmp_path / 'notes.part').write_text('mine')
    claim_work_dir(config(tmp_path))
    assert not unfinished.exists()
    assert (tmp_path / 'notes.part').exists()
    assert 'removed .epoch_3.pth.4711.part' in capsys.readouterr().out


def test_lock__keeps_a_second_run_out(tmp_path):
    code = (
        'import sys, time\n'
        'from mmengine.config import Config\n'
        'from mmcae.launch.work_dir import claim_work_dir\n'
        'claim_work_dir(Config(dict(work_dir=sys.argv[1])))\n'
        'print("claimed", flush=True)\n'
        'time.sleep(60)\n'
    )
    owner = subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    while 'claimed' not in (line := owner.stdout.readline()):
        assert line  # it ended
    with pytest.raises(ConfigError, match=f'process {owner.pid}'):
        claim_work_dir(config(tmp_path))
    owner.kill()
    owner.wait()
    claim_work_dir(config(tmp_path))


def test_other_ranks__neither_lock_nor_refuse(used, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    claim_work_dir(config(used))
    assert not (used / '.lock').exists()


def test_resume_newest__says_when_there_is_nothing(tmp_path, capsys):
    cfg = config(tmp_path)
    resume_newest(cfg)
    assert not cfg.resume
    assert 'nothing to resume' in capsys.readouterr().out


def test_resume_newest__takes_an_older_file_for_a_damaged_one(used, capsys):
    (used / 'epoch_2.pth').write_bytes(b'conten')
    cfg = config(used)
    resume_newest(cfg)
    assert cfg.resume
    assert cfg.load_from == str(used / 'epoch_1.pth')
    assert 'epoch_2.pth is damaged (its SHA-256' in capsys.readouterr().out


def test_resume_newest__does_not_start_over_damaged_files(used):
    for path in used.glob('epoch_*.pth'):
        path.write_bytes(b'x')
    with pytest.raises(CheckpointError, match='Remove them to start'):
        resume_newest(config(used))
