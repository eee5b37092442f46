# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run tools/train.py and tools/test.py as users do."""

import json
import pickle
import sys

import pytest
from helpers import toy_project

from mmcae.config.search_path import resource_root

TRAIN = resource_root() / 'tools' / 'train.py'
TEST = resource_root() / 'tools' / 'test.py'


@pytest.fixture
def toy(tmp_path):
    toy_project.write(tmp_path)
    return tmp_path


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    toy_project.write(folder)
    result = toy_project.execute(
        [sys.executable, TRAIN, 'toy.py', '--auto-scale-lr', '--amp'], folder
    )
    assert result.returncode == 0, result.stderr
    return folder, result.stdout + result.stderr


def test_train__default_work_dir_and_log(trained):
    folder, log = trained
    work_dir = folder / 'work_dirs' / 'toy'
    assert (work_dir / 'epoch_2.pth').is_file()
    assert (work_dir / 'toy.py').is_file()
    assert 'eta:' in log
    assert 'error:' in log  # the validation metric
    # One process with batch size 4; the base batch size is 8.
    assert 'Scaling the original LR by 0.5' in log
    (file,) = folder.glob('work_dirs/toy/*/*.log')
    assert 'mmcae.AmpOptimWrapper' in file.read_text()


def test_train__resumes(trained, monkeypatch, capfd):
    folder, _ = trained
    arguments = ['toy.py', '--resume', '--no-validate', '--work-dir']
    arguments += ['work_dirs/toy', '--cfg-options', 'train_cfg.max_epochs=3']
    assert toy_project.run_script(TRAIN, arguments, folder, monkeypatch) == 0
    captured = capfd.readouterr()
    log = captured.out + captured.err
    assert 'resumed epoch: 2' in log
    assert 'Epoch(train) [3]' in log
    assert 'Epoch(train) [2]' not in log
    assert 'Epoch(val)' not in log


def test_train__reports_that_nothing_can_be_resumed(toy, monkeypatch, capfd):
    arguments = ['toy.py', '--resume', '--no-validate', '--cfg-options']
    arguments += ['max_epochs=1', 'batch_size=8']
    (toy / 'toy.py').write_text(
        (toy / 'toy.py')
        .read_text()
        .replace('max_epochs=2', 'max_epochs=max_epochs')
        .replace('batch_size = 4', 'batch_size, max_epochs = 4, 2')
    )
    assert toy_project.run_script(TRAIN, arguments, toy, monkeypatch) == 0
    captured = capfd.readouterr()
    log = captured.out + captured.err
    assert 'nothing to resume in work_dirs/toy; training from the s' in log
    assert 'Auto resumed' not in log
    # Variables keep the values that were given: one batch, one epoch.
    assert 'Epoch(train) [1][1/1]' in log
    assert 'Epoch(train) [2]' not in log


def test_train__resumes_after_a_restart_by_torchrun(
    trained, monkeypatch, capfd
):
    folder, _ = trained
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    arguments = ['toy.py', '--no-validate']
    assert toy_project.run_script(TRAIN, arguments, folder, monkeypatch) == 0
    captured = capfd.readouterr()
    assert 'resumed epoch' in captured.out + captured.err


def test_test__writes_metrics(trained, monkeypatch):
    folder, _ = trained
    arguments = ['toy.py', 'work_dirs/toy/epoch_2.pth', '--work-dir', 'tested']
    arguments += ['--out', 'out.json', '--out-item', 'metrics']
    assert toy_project.run_script(TEST, arguments, folder, monkeypatch) == 0
    metrics = json.loads((folder / 'out.json').read_text())
    assert metrics['count'] == 8
    assert 0 < metrics['error'] < 10


def test_test__writes_predictions(trained, monkeypatch):
    folder, _ = trained
    arguments = ['toy.py', 'work_dirs/toy/epoch_2.pth', '--out', 'pred.pkl']
    assert toy_project.run_script(TEST, arguments, folder, monkeypatch) == 0
    assert len(pickle.loads((folder / 'pred.pkl').read_bytes())) == 8


@pytest.mark.parametrize(
    ('script', 'arguments', 'status', 'words'),
    [
        (
            TRAIN,
            ['toy.py', '--cfg-options', 'train_cfg.max_epoch=1'],
            2,
            "error: there is no 'train_cfg.max_epoch'; did you mean "
            "'train_cfg.max_epochs'?",
        ),
        (
            TRAIN,
            ['toy.py', '--cfg-options', 'train_dataloader.batch_size=abc'],
            2,
            "error: train_dataloader.batch_size='abc': must be a whole "
            'number from 1',
        ),
        (
            TEST,
            ['toy.py', 'x', '--cfg-options', 'test_dataloader.num_workers=-1'],
            2,
            'error: test_dataloader.num_workers=-1: must be a whole number',
        ),
        (
            TRAIN,
            ['toy.py', '--cfg-options', '+model.breadth=8'],
            2,
            'ToyModel has no such argument',
        ),
        (
            TRAIN,
            ['toy.py', '--cfg-options', 'load_from=toy_parts.py'],
            2,
            "error: load_from='toy_parts.py': toy_parts.py (",
        ),
        (TRAIN, ['toi.py'], 2, "error: there is no config file 'toi.py'"),
        (
            TRAIN,
            ['toy.py', '--cfg-options', 'data_root=nowhere'],
            2,
            "data_root='nowhere': there is no folder nowhere",
        ),
        (
            TRAIN,
            ['toy.py', '--launcher', 'pytorch'],
            2,
            'error: --launcher pytorch needs RANK',
        ),
        (
            TRAIN,
            ['toy.py', '--resume', 'no.pth'],
            2,
            'no.pth can not be found',
        ),
        (TEST, ['toy.py', 'no.pth'], 2, 'no.pth can not be found'),
        (
            TEST,
            ['toy.py', 'x.pth', '--cfg-options', 'test_dataloader=None'],
            2,
            'has no test_dataloader',
        ),
    ],
)
def test_tools__mistake_gives_one_message(
    toy, monkeypatch, capfd, script, arguments, status, words
):
    monkeypatch.delenv('RANK', raising=False)
    run = toy_project.run_script
    assert run(script, arguments, toy, monkeypatch) == status
    text = capfd.readouterr().err
    errors = [line for line in text.splitlines() if 'error:' in line]
    assert len(errors) == 1
    assert words in errors[0]
    assert 'Traceback' not in text


def test_train__bug_while_training_keeps_its_traceback(toy, monkeypatch):
    arguments = ['toy.py', '--cfg-options', 'data_root=broken']
    with pytest.raises(ValueError, match='a real bug'):
        toy_project.run_script(TRAIN, arguments, toy, monkeypatch)


def test_train__exit_status_reaches_the_shell(toy):
    arguments = ['toy.py', '--cfg-options', 'modle.width=3']
    result = toy_project.execute([sys.executable, TRAIN, *arguments], toy)
    assert result.returncode == 2
    assert result.stderr.startswith("error: there is no 'modle'; did you mean")
    assert len(result.stderr.strip().splitlines()) == 1
