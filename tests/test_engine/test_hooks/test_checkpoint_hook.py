# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""No run is lost: what `mmcae.CheckpointHook` writes, keeps and refuses."""

import errno
import hashlib
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.exact_runs import Rows, run
from helpers.resumed_runs import FallingMetric
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook

from mmcae.checkpoint.durable import DurableBackend, digest_file
from mmcae.checkpoint.errors import CheckpointError
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.checkpoint.work_dir import (
    checkpoints_in,
    choose_checkpoint,
    fault_of,
    newest_good,
)
from mmcae.engine.hooks.checkpoint_hook import CheckpointHook, _RemoveLater


def names_in(folder) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.suffix == '.pth'
    )


def test_save__records_the_sha256_and_a_relative_pointer(tmp_path):
    run(tmp_path, hook=dict(max_keep_ckpts=2))
    assert names_in(tmp_path) == ['epoch_2.pth', 'epoch_3.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == 'epoch_3.pth'
    for path in checkpoints_in(tmp_path):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest_file(path).read_text() == f'{digest}  {path.name}\n'
    assert len(list(tmp_path.glob('*.sha256'))) == 2
    assert not list(tmp_path.glob('.*part'))


def test_work_dir__is_resumed_where_it_was_moved(tmp_path):
    whole, _, _ = run(tmp_path / 'whole')
    run(tmp_path / 'before', length=2)
    (tmp_path / 'before').rename(tmp_path / 'after')
    record, _, _ = run(tmp_path / 'after', resume=True)
    assert record.losses == whole.losses[10:]
    assert names_in(tmp_path / 'after')[-1] == 'epoch_3.pth'
    assert not (tmp_path / 'before').exists()


def test_size__does_not_grow_with_the_log(tmp_path):
    _, _, runner = run(
        tmp_path, length=40, hook=dict(interval=20), log_processor=dict(
            window_size=10
        ),
    )  # fmt: skip
    first, last = (tmp_path / f'epoch_{n}.pth' for n in (20, 40))
    assert abs(last.stat().st_size - first.stat().st_size) < 1000
    scalars = read_checkpoint(last)['message_hub']['log_scalars']
    assert {len(one.data[0]) for one in scalars.values()} == {10}
    whole = runner.message_hub.log_scalars['train/loss']
    assert len(whole.data[0]) == 200
    kept = scalars['train/loss'].data[0].tolist()
    assert kept == whole.data[0][-10:].tolist()


class Spoil(Hook):
    """Puts a number into a weight or a moment after an iteration."""

    def __init__(self, where: str) -> None:
        self.where = where

    def after_train_iter(self, runner, batch_idx, **kwargs) -> None:
        if runner.iter != 9:  # the last of an epoch
            return
        weight = runner.model.layers[0].weight
        if self.where == 'weight':
            weight.data[0, 0] = torch.inf
        else:
            state = runner.optim_wrapper.optimizer.state[weight]
            state['exp_avg'][0, 0] = torch.nan


@pytest.mark.parametrize(
    ('where', 'named'),
    [('weight', 'layers.0.weight'), ('moment', 'exp_avg of')],
)
def test_save__refuses_numbers_that_are_not_finite(tmp_path, where, named):
    with pytest.raises(CheckpointError, match=f'{named}.*not finite'):
        run(tmp_path, hooks=(Spoil(where),))
    assert names_in(tmp_path) == ['epoch_1.pth']
    assert newest_good(tmp_path).path == tmp_path / 'epoch_1.pth'


class FullDisk:
    """A disk that refuses the saves with the given numbers."""

    def __init__(self, refused) -> None:
        self.refused, self.saves = refused, 0

    def install(self, monkeypatch) -> None:
        real = DurableBackend._put

        def put(backend, obj, path):
            self.saves += 1
            if self.saves in self.refused:
                with open(path.with_name('.torn.part'), 'wb') as file:
                    file.write(obj[:10])
                path.with_name('.torn.part').unlink()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(backend, obj, path)

        monkeypatch.setattr(DurableBackend, '_put', put)


def test_full_disk__costs_a_warning_and_the_run_goes_on(tmp_path, monkeypatch):
    FullDisk({2, 3}).install(monkeypatch)
    run(tmp_path, length=4, hook=dict(max_keep_ckpts=1), log_level='WARNING')
    assert names_in(tmp_path) == ['epoch_4.pth']
    (log,) = tmp_path.glob('*/*.log')
    text = log.read_text()
    assert 'Could not save epoch_2.pth: No space left on device' in text
    assert 'bytes are free' in text
    assert 'failure 1 of 3' in text
    assert 'failure 2 of 3' in text


def test_full_disk__keeps_the_older_checkpoint(tmp_path, monkeypatch):
    FullDisk({2}).install(monkeypatch)
    run(tmp_path, length=2, hook=dict(max_keep_ckpts=1))
    assert names_in(tmp_path) == ['epoch_1.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == 'epoch_1.pth'
    assert fault_of(tmp_path / 'epoch_1.pth') is None


def test_full_disk__ends_the_run_after_three_failures(tmp_path, monkeypatch):
    FullDisk(range(2, 99)).install(monkeypatch)
    with pytest.raises(CheckpointError, match='failure 3 in a row'):
        run(tmp_path, length=9, hook=dict(max_keep_ckpts=1))
    assert names_in(tmp_path) == ['epoch_1.pth']


def test_file_size_limit__leaves_no_torn_file(tmp_path):
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, former[1]))
    try:
        with pytest.raises(CheckpointError, match='File too large'):
            run(tmp_path, length=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert names_in(tmp_path) == []
    assert not list(tmp_path.glob('.*part'))


def damages(path, rng):
    """Yield (name, content) of damaged versions of a file."""
    content = path.read_bytes()
    for number in range(20):
        yield f'cut {number}', content[: len(content) * number // 20]
    for number in range(28):
        position = int(rng.integers(len(content)))
        flipped = content[position] ^ (1 << int(rng.integers(8)))
        changed = content[:position] + bytes([flipped])
        yield f'bit {number}', changed + content[position + 1 :]
    yield 'zeros', content[:2000] + bytes(200) + content[2200:]
    yield 'text', b'not a checkpoint'


def test_damage__is_found_and_an_older_checkpoint_is_taken(tmp_path, subtests):
    run(tmp_path, hook=dict(max_keep_ckpts=3))
    newest = tmp_path / 'epoch_3.pth'
    good = newest.read_bytes()
    cases = list(damages(newest, np.random.default_rng(0)))
    assert len(cases) == 50
    for name, content in cases:
        with subtests.test(damage=name):
            newest.write_bytes(content)
            said: list[str] = []
            path = choose_checkpoint(tmp_path, said.append)
            assert path == tmp_path / 'epoch_2.pth'
            assert len(said) == 1
            assert said[0].startswith(f'{newest} is damaged (')
    newest.write_bytes(good)
    os.utime(newest, ns=(0, 0))
    assert choose_checkpoint(tmp_path, print) == newest


def test_damage__without_a_record_is_found_by_reading(tmp_path):
    run(tmp_path)
    newest = tmp_path / 'epoch_3.pth'
    digest_file(newest).unlink()
    assert fault_of(newest) is None
    newest.write_bytes(newest.read_bytes()[:-1])
    assert 'damaged' in str(fault_of(newest))


def test_pointer__is_not_trusted(tmp_path, subtests):
    run(tmp_path)
    pointer = tmp_path / 'last_checkpoint'
    for text in ('', 'epoch_1.pth', 'nowhere.pth', '/etc/passwd', '\0'):
        with subtests.test(text=text):
            pointer.write_text(text)
            found = choose_checkpoint(tmp_path, print)
            assert found == tmp_path / 'epoch_3.pth'
    pointer.unlink()
    assert choose_checkpoint(tmp_path, print) == tmp_path / 'epoch_3.pth'


def test_all_damaged__is_an_error_and_nothing_is_overwritten(tmp_path):
    run(tmp_path)
    for path in checkpoints_in(tmp_path):
        path.write_bytes(b'')
    with pytest.raises(CheckpointError, match=r'no checkpoint in .* can be'):
        run(tmp_path, resume=True)
    assert all(not path.stat().st_size for path in checkpoints_in(tmp_path))


def test_resume__says_which_file_was_damaged(tmp_path):
    whole, _, _ = run(tmp_path / 'whole')
    folder = tmp_path / 'run'
    run(folder, length=2)
    (folder / 'epoch_2.pth').write_bytes(b'')
    record, _, _ = run(folder, resume=True, log_level='WARNING')
    assert record.losses == whole.losses[5:]
    text = ''.join(log.read_text() for log in folder.glob('*/*.log'))
    assert 'epoch_2.pth is damaged (it is empty); resuming from' in text


def test_save__syncs_the_file_before_and_the_folder_after_its_name(
    tmp_path, monkeypatch
):
    """Nothing shows a power cut here, so the order of calls is compared."""
    path = tmp_path / 'epoch_1.pth'
    events = []
    sync, replace = os.fsync, os.replace

    def record_sync(handle):
        kind = 'folder' if stat.S_ISDIR(os.fstat(handle).st_mode) else 'file'
        events.append(f'sync {kind}')
        sync(handle)

    def record_replace(source, target):
        events.append(f'name {os.path.basename(target)}')
        replace(source, target)

    monkeypatch.setattr(os, 'fsync', record_sync)
    monkeypatch.setattr(os, 'replace', record_replace)
    DurableBackend().put(b'content', path)
    record = [
        'sync file',
        'name epoch_1.pth.sha256',
        'sync folder',
    ]
    assert events == [
        'sync file',
        *record,
        'sync file',
        'name epoch_1.pth',
        'sync folder',
    ]


def test_replaced_file__fits_its_record_at_every_moment(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    backend = DurableBackend()
    backend.put(b'former', path)
    seen = []
    real = os.replace

    def replace(source, target):
        for step in (False, True):
            if step:
                real(source, target)
            records = digest_file(path).read_text()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            seen.append(digest in records)

    monkeypatch.setattr(os, 'replace', replace)
    backend.put(b'new', path)
    assert seen
    assert all(seen)


KILLED = """
import os, sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from helpers.exact_runs import Rows, run
from helpers.resumed_runs import FallingMetric
real = os.fsync
def slow(handle):  # a disk that takes most of the run's time
    time.sleep(0.003)
    real(handle)
os.fsync = slow
run(Path(sys.argv[1]), resume=True, length=10_000, hook=dict(
    max_keep_ckpts=int(sys.argv[2])))
"""


def newest_epoch(folder) -> int:
    found = checkpoints_in(folder)
    return int(found[0].stem.removeprefix('epoch_')) if found else 0


@pytest.mark.slow
def test_kills__never_lose_the_run(tmp_path):
    """Few kills; `benchmarks/reliability.py` does hundreds."""
    code = KILLED.format(paths=sys.path)
    for keep in (1, 3):
        folder = tmp_path / str(keep)
        reached = 0
        for number in range(3):
            child = subprocess.Popen(
                [sys.executable, '-c', code, str(folder), str(keep)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            wait = time.monotonic() + 60
            while newest_epoch(folder) <= reached:
                assert time.monotonic() < wait
                time.sleep(0.05)
            time.sleep(0.4 + 0.037 * number)
            child.kill()
            child.wait()
            path, refused = newest_good(folder)
            assert path is not None
            assert not refused
            assert newest_epoch(folder) > reached
            reached = newest_epoch(folder)


def test_best__is_removed_after_the_new_one_is_saved(tmp_path, monkeypatch):
    events = []
    real_put, real_remove = DurableBackend._put, DurableBackend.remove

    def put(self, obj, path):
        events.append(('save', path.name))
        real_put(self, obj, path)

    def remove(self, path):
        events.append(('remove', os.path.basename(path)))
        real_remove(self, path)

    monkeypatch.setattr(DurableBackend, '_put', put)
    monkeypatch.setattr(DurableBackend, 'remove', remove)
    run(
        tmp_path,
        length=2,
        hook=dict(save_best='error', rule='less'),
        val_dataloader=dict(
            batch_size=4,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=Rows(),
        ),
        val_cfg=dict(),
        val_evaluator=Evaluator([FallingMetric()]),
    )
    best = [event for event in events if event[1].startswith('best')]
    assert best == [
        ('save', 'best_error_epoch_1.pth'),
        ('save', 'best_error_epoch_2.pth'),
        ('remove', 'best_error_epoch_1.pth'),
    ]
    assert names_in(tmp_path) == [
        'best_error_epoch_2.pth',
        'epoch_1.pth',
        'epoch_2.pth',
    ]


def test_best__stays_when_the_disk_refuses_the_new_one(tmp_path, monkeypatch):
    FullDisk({5}).install(monkeypatch)  # the second best, after 1, best, 1, 2
    _, _, runner = run(
        tmp_path,
        length=2,
        hook=dict(save_best='error', rule='less'),
        val_dataloader=dict(
            batch_size=4,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=Rows(),
        ),
        val_cfg=dict(),
        val_evaluator=Evaluator([FallingMetric()]),
    )
    assert 'best_error_epoch_1.pth' in names_in(tmp_path)
    info = runner.message_hub.runtime_info
    assert str(info['best_ckpt']).endswith('best_error_epoch_1.pth')


def test_second_training__continues_and_keeps_its_folder(tmp_path):
    """A notebook may raise the number of epochs and train again."""
    whole, weights, _ = run(tmp_path / 'whole', length=4)
    hook = dict(max_keep_ckpts=2, out_dir=str(tmp_path / 'elsewhere'))
    record, _, runner = run(tmp_path / 'run', length=2, hook=hook)
    runner.train_loop._max_epochs = 4
    runner.train()
    assert record.losses == whole.losses
    for key, value in weights.items():
        assert torch.equal(value, runner.model.state_dict()[key])
    folder = tmp_path / 'elsewhere' / 'run'
    assert names_in(folder) == ['epoch_3.pth', 'epoch_4.pth']
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    pointer = tmp_path / 'run' / 'last_checkpoint'
    assert pointer.parent / pointer.read_text() == Path(
        f'{tmp_path}/run/../elsewhere/run/epoch_4.pth'
    )


def test_folders__of_other_backends_are_removed(tmp_path):
    """DeepSpeed saves a checkpoint as a folder."""
    _, _, runner = run(tmp_path, length=3, hook=dict(max_keep_ckpts=2))
    (hook,) = (h for h in runner.hooks if isinstance(h, CheckpointHook))
    for name in ('epoch_2.pth', 'epoch_3.pth'):
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        (tmp_path / name / 'part').write_text('of a checkpoint')
    runner.train_loop._max_epochs = 4
    runner.train()
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == [
        'epoch_3.pth',
        'epoch_4.pth',
    ]
    assert hook.file_backend.isdir(tmp_path / 'epoch_3.pth')


def test_best_folder__is_removed_after_the_new_one_is_saved(tmp_path):
    best = tmp_path / 'best'
    best.mkdir()
    later = _RemoveLater(DurableBackend())
    later.rmtree(str(best))
    assert best.is_dir()
    later.remove_noted({str(best)})
    assert best.is_dir()
    later.remove_noted(set())
    assert not best.exists()
