# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A resumed run removes checkpoints that it wrote, and nothing else."""

import copy
import os
import shutil

import pytest
import torch
from helpers.resumed_runs import make_runner

from mmcae.checkpoint.reading import read_checkpoint

BEST = 'best_error_epoch_1.pth'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A work dir after the first of three epochs."""
    work_dir = tmp_path_factory.mktemp('trained') / 'work'
    make_runner(work_dir, epochs=1).train()
    return work_dir


@pytest.fixture
def work_dir(trained, tmp_path):
    """A copy in another folder, as if it was moved."""
    return shutil.copytree(trained, tmp_path / 'work')


def change(work_dir, **entries):
    path = work_dir / 'epoch_1.pth'
    checkpoint = read_checkpoint(path)
    hub = checkpoint['message_hub']
    hub['runtime_info'].update(entries)
    hub['resumed_keys'].update(dict.fromkeys(entries, True))
    torch.save(checkpoint, path)
    return path


def go_on(work_dir, path=None, **kwargs):
    runner = make_runner(work_dir, **kwargs)
    runner._resume = True
    runner._load_from = str(path or work_dir / 'epoch_1.pth')
    runner.train()
    return runner


def log_of(capfd):
    captured = capfd.readouterr()
    return captured.out + captured.err


def test_best__of_the_run_is_removed_also_after_a_move(
    trained, work_dir, capfd
):
    go_on(work_dir)
    assert not (work_dir / BEST).exists()
    assert (work_dir / 'best_error_epoch_2.pth').is_file()
    assert (trained / BEST).is_file()
    assert 'Not taken over' not in log_of(capfd)


def traps(folder, work_dir):
    """Create files that must survive; return hostile paths to them."""
    victim = folder / 'victim'
    victim.mkdir()
    (victim / 'best_error_epoch_1.pth').write_text('precious')
    (victim / 'file').write_text('precious')
    inside = work_dir / 'results'
    inside.mkdir()
    (inside / 'file').write_text('precious')
    (work_dir / 'best_results_epoch_7.pth').mkdir()
    (work_dir / 'best_results_epoch_7.pth' / 'file').write_text('precious')
    (work_dir / 'best_link_epoch_8.pth').symlink_to(victim)
    (work_dir / 'best_link_epoch_9.pth').symlink_to(victim / 'file')
    (work_dir / 'notes.txt').write_text('precious')
    return [
        str(victim),
        str(victim / 'file'),
        str(inside),
        os.path.relpath(victim),
        f'{work_dir}/../victim',
        f'{work_dir}/best_x_epoch_1.pth/../../victim/file',
        f'{work_dir}/best_results_epoch_7.pth',
        f'{work_dir}/best_link_epoch_8.pth',
        f'{work_dir}/best_link_epoch_9.pth',
        f'{work_dir}/notes.txt',
        f'{work_dir}/epoch_1.pth',
        str(work_dir),
        '.',
        '..',
        '',
        '/',
        '~',
        f'file://{victim}',
        'http://127.0.0.1:9/best_error_epoch_3.pth',
        's3://bucket/best_error_epoch_3.pth',
        f'{victim}\x00/best_error_epoch_3.pth',
        7,
        None,
        [str(victim)],
    ]


def survivors(folder):
    return {
        str(path)
        for path in folder.rglob('*')
        if path.is_dir() or path.is_symlink() or 'epoch_1' not in path.name
    }


def test_best__of_another_place_stays(trained, tmp_path, capfd, subtests):
    number = 0
    paths = [None]
    while number < len(paths):
        folder = tmp_path / str(number)
        work_dir = shutil.copytree(trained, folder / 'work')
        paths = traps(folder, work_dir)
        with subtests.test(path=paths[number]):
            assert_stays(paths[number], work_dir, folder, capfd)
        number += 1
    assert number == 24


def assert_stays(path, work_dir, tmp_path, capfd):
    before = survivors(tmp_path)
    (work_dir / BEST).unlink()
    change(work_dir, best_ckpt=path)
    runner = go_on(work_dir)
    assert before <= survivors(tmp_path)
    assert (tmp_path / 'victim' / BEST).is_file()
    log = log_of(capfd)
    assert 'is removed' not in log
    lines = [line for line in log.splitlines() if 'Not taken over' in line]
    assert len(lines) == 1
    assert 'best_ckpt=' in lines[0]
    assert runner.message_hub.get_info('best_ckpt').endswith('epoch_2.pth')


def test_best__of_several_scores(work_dir, tmp_path):
    victim = tmp_path / 'victim'
    victim.mkdir()
    change(
        work_dir,
        best_ckpt_error=str(victim),
        best_score_error=1e9,
        best_ckpt_count='/tmp',
        best_score_count='low',
    )
    runner = go_on(
        work_dir,
        checkpoint=dict(save_best=['error', 'count'], rule=['less', 'less']),
    )
    assert victim.is_dir()
    assert runner.message_hub.get_info('best_score_count') == 2


def test_best__score_that_is_not_a_number_is_dropped(work_dir, capfd):
    change(work_dir, best_score='x')
    runner = go_on(work_dir)
    assert 'best_score=x' in log_of(capfd)
    assert isinstance(runner.message_hub.get_info('best_score'), float)


def test_best__of_a_file_from_elsewhere_stays(trained, tmp_path, capfd):
    """The files in the work dir have the same names, but are not its own."""
    work_dir = tmp_path / 'other'
    work_dir.mkdir()
    (work_dir / BEST).write_text('of another run')
    go_on(work_dir, trained / 'epoch_1.pth')
    assert (work_dir / BEST).read_text() == 'of another run'
    assert (trained / BEST).is_file()
    assert 'Not taken over' in log_of(capfd)


def test_best__in_a_folder_of_its_own(tmp_path):
    outside = dict(out_dir=str(tmp_path / 'out'))
    make_runner(tmp_path / 'work', epochs=1, checkpoint=outside).train()
    folder = tmp_path / 'out' / 'work'
    assert (folder / BEST).is_file()
    go_on(tmp_path / 'work', folder / 'epoch_1.pth', checkpoint=outside)
    assert not (folder / BEST).exists()
    assert (folder / 'best_error_epoch_2.pth').is_file()


def test_best__is_published_in_the_work_dir_only(work_dir, tmp_path):
    """Publishing writes next to the path in the file."""
    victim = tmp_path / 'victim'
    victim.mkdir()
    shutil.copy(work_dir / BEST, victim / BEST)
    change(work_dir, best_ckpt=str(victim / BEST), best_score=-1e9)
    (work_dir / BEST).unlink()
    go_on(work_dir, checkpoint=dict(published_keys=['state_dict']))
    assert [path.name for path in victim.iterdir()] == [BEST]


KEEP = dict(max_keep_ckpts=1)


def test_kept__older_checkpoints_of_the_run_are_removed(tmp_path):
    make_runner(tmp_path, epochs=1, checkpoint=KEEP).train()
    go_on(tmp_path, checkpoint=KEEP)
    names = {path.name for path in tmp_path.glob('epoch_*')}
    assert names == {'epoch_2.pth'}


def test_kept__wrong_steps_are_dropped(trained, tmp_path, capfd, subtests):
    wrong = (
        'x', [1, '../../victim/file'], [-1, 1], [True, 1], [9, 9, 9], {1: 2},
    )  # fmt: skip
    for number, steps in enumerate(wrong):
        with subtests.test(steps=steps):
            work_dir = shutil.copytree(trained, tmp_path / f'work_{number}')
            (work_dir / 'epoch_9.pth').write_text('precious')
            change(work_dir, keep_ckpt_ids=steps)
            go_on(work_dir, checkpoint=KEEP)
            assert (work_dir / 'epoch_9.pth').is_file()
            assert 'keep_ckpt_ids=' in log_of(capfd)


def test_kept__a_folder_of_such_a_name_stays(work_dir, capfd):
    (work_dir / 'epoch_0.pth').mkdir()
    change(work_dir, keep_ckpt_ids=[0, 1])
    go_on(work_dir, checkpoint=KEEP)
    assert (work_dir / 'epoch_0.pth').is_dir()
    assert 'keep_ckpt_ids=[0, 1]' in log_of(capfd)


def test_kept__steps_of_another_run_stay(trained, tmp_path):
    (tmp_path / 'epoch_1.pth').write_text('of another run')
    source = copy.copy(trained / 'epoch_1.pth')
    go_on(tmp_path, source, checkpoint=KEEP)
    assert (tmp_path / 'epoch_1.pth').read_text() == 'of another run'
