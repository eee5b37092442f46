# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A batch whose loss or gradient is not finite is skipped, and named."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.bad_batches import (
    LeaveOut,
    Poison,
    PoisonGradient,
    fresh,
    recipe,
    train,
)
from mmengine.config import Config
from mmengine.runner import Runner

from mmcae.checkpoint.reading import read_checkpoint
from mmcae.checkpoint.work_dir import checkpoints_in
from mmcae.engine.hooks.non_finite_hook import NonFiniteError, NonFiniteHook
from mmcae.engine.optimizers import clip
from mmcae.launch.runner import build_runner, clear_errors

KINDS = ('cae', 'tokenizer', 'finetune', 'linear', 'sweep')
BAD = 2  # the index of the bad iteration, of 8


@pytest.fixture
def photos(class_photos):
    """Eight images in two classes, in place of the others' fixture."""
    return class_photos


@pytest.fixture(autouse=True)
def _quick_configs(monkeypatch):
    # Formatting the config for the log takes half of a run's time.
    monkeypatch.setattr(Config, 'pretty_text', '')


@pytest.fixture
def on_device(monkeypatch):
    """Numbers as on a GPU: the host must not read them."""
    monkeypatch.setattr(clip, 'is_free_to_read', lambda value: False)


def run(cfg, *hooks):
    fresh()
    runner = build_runner(cfg)
    return train(runner, *hooks)


def assert_same(one, two):
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.equal(value, two[key]), key


def compare(
    photos, tmp_path, kind, poison, change=lambda cfg: None, steps=None
):
    """Compare a run with a bad batch with one that leaves the batch out."""
    results = []
    left_out = LeaveOut(poison.at, steps)
    for name, hook in (('bad', poison), ('left out', left_out)):
        cfg = recipe(kind, photos, tmp_path / name)
        change(cfg)
        results.append(run(cfg, hook))
    (steps, tensors, lines), (others, expected, none) = results
    assert_same(tensors, expected)
    assert steps.rates == others.rates
    rest = [i for i in range(len(steps.losses)) if i not in poison.at]
    assert len(rest) == 8 - len(poison.at)
    assert [steps.losses[i] for i in rest] == [others.losses[i] for i in rest]
    assert not none
    assert all(bool(value.isfinite().all()) for value in tensors.values())
    return steps, lines


@pytest.mark.parametrize('kind', KINDS)
def test_bad_loss__is_skipped_in_every_training(photos, tmp_path, kind):
    steps, lines = compare(photos, tmp_path, kind, Poison([BAD]))
    assert math.isnan(steps.losses[BAD])
    (line,) = lines
    assert line.startswith(f'Iteration {BAD + 1}: the loss is nan')
    for file in steps.files[BAD]:
        assert file in line
    for file in steps.files[BAD + 1]:
        assert file not in line
    for path in checkpoints_in(tmp_path / 'bad'):
        assert_finite(read_checkpoint(path))


def assert_finite(value):
    """Require finite numbers in all of a checkpoint."""
    if isinstance(value, dict):
        for one in value.values():
            assert_finite(one)
    elif isinstance(value, list | tuple):
        for one in value:
            assert_finite(one)
    elif hasattr(value, 'data') and isinstance(value.data, tuple):
        assert np.isfinite(value.data[0]).all()  # the history of a scalar
    elif isinstance(value, torch.Tensor) and value.is_floating_point():
        assert value.isfinite().all()
    elif isinstance(value, float):
        assert math.isfinite(value)


@pytest.mark.parametrize('kind', ['cae', 'sweep'])
def test_bad_gradient__is_skipped(photos, tmp_path, kind):
    steps, lines = compare(photos, tmp_path, kind, PoisonGradient([BAD]))
    assert math.isfinite(steps.losses[BAD])
    (line,) = lines
    assert 'but the norm of the gradient is' in line
    assert all(file in line for file in steps.files[BAD])


@pytest.mark.parametrize(
    ('kind', 'poison'),
    [('cae', Poison), ('finetune', PoisonGradient), ('sweep', Poison)],
)
def test_on_a_device__is_skipped_there_and_named_later(
    photos, tmp_path, kind, poison, on_device
):
    steps, lines = compare(photos, tmp_path, kind, poison([BAD]))
    (line,) = lines
    assert line.startswith(f'Iteration {BAD + 1}: ')
    assert all(file in line for file in steps.files[BAD])


def test_copied_teacher__is_not_updated_by_a_bad_batch(photos, tmp_path):
    def change(cfg):
        cfg.model.update(target_encoder='copy', base_momentum=0.5)

    compare(photos, tmp_path, 'cae', Poison([BAD]), change)


@pytest.mark.parametrize('poison', [Poison, PoisonGradient])
def test_accumulation__the_whole_group_is_skipped(photos, tmp_path, poison):
    def change(cfg):
        cfg.optim_wrapper.accumulative_counts = 2

    steps, lines = compare(
        photos, tmp_path, 'linear', poison([BAD]), change, steps=[BAD + 1]
    )
    (line,) = lines
    assert line.startswith(f'Iteration {BAD + 1} of {BAD + 2}: ')
    assert 'The step of all accumulated gradients is skipped' in line
    assert all(file in line for file in steps.files[BAD])
    assert not any(file in line for file in steps.files[BAD + 1])


def test_accumulation__a_resumed_run_skips_the_same_group(photos, tmp_path):
    results = []
    for name, stop in (('whole', None), ('resumed', BAD)):
        cfg = recipe('finetune', photos, tmp_path / name)
        cfg.optim_wrapper.accumulative_counts = 2
        if stop is not None:
            with pytest.raises(SystemExit):
                run(cfg, Poison([BAD]), StopAfter(stop))
            for path in checkpoints_in(tmp_path / name):
                assert_finite(read_checkpoint(path))
            cfg.resume = True
        results.append(run(cfg, Poison([BAD])))
    assert_same(results[0][1], results[1][1])
    assert results[0][0].losses[BAD + 1 :] == results[1][0].losses


class StopAfter(Poison):
    """Sends the run SIGTERM in an iteration."""

    def __init__(self, at):
        super().__init__([at])

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter in self.at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize('kind', ['cae', 'sweep'])
def test_three_in_a_row__end_the_run(photos, tmp_path, kind):
    cfg = recipe(kind, photos, tmp_path)
    with pytest.raises(NonFiniteError) as ended:
        run(cfg, Poison([3, 5, 6, 7]))
    text = str(ended.value)
    assert '3 steps in a row (iterations 6, 7, 8)' in text
    assert '\n' not in text
    assert isinstance(ended.value, FloatingPointError)
    (path,) = checkpoints_in(tmp_path)  # that of the first epoch
    assert path.name == 'epoch_1.pth'
    assert_finite(read_checkpoint(path))


def test_three_in_a_row__is_one_line_and_exit_status_1(
    photos, tmp_path, capsys
):
    cfg = recipe('tokenizer', photos, tmp_path)
    with pytest.raises(SystemExit) as ended, clear_errors():
        run(cfg, Poison([1, 2, 3]))
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith('error: 3 steps in a row (iterations 2, 3, 4)')
    assert 'Traceback' not in ''.join(lines)


def test_three_in_a_row__end_the_run_on_a_device(photos, tmp_path, on_device):
    cfg = recipe('cae', photos, tmp_path)
    with pytest.raises(NonFiniteError, match=r'iterations 2, 3, 4\)'):
        run(cfg, Poison([1, 2, 3]))


def test_kept__the_newest_three(photos, tmp_path):
    cfg = recipe('tokenizer', photos, tmp_path)
    run(cfg, Poison([0, 2, 4, 6]))
    kept = sorted(path.name for path in (tmp_path / 'non_finite').iterdir())
    assert kept == ['iter_3', 'iter_5', 'iter_7']
    folder = tmp_path / 'non_finite/iter_7'
    report = json.loads((folder / 'report.json').read_text())
    assert len(report['rank 0']['files']) == 2
    assert report['rank 0']['iteration'] == 7
    assert not list(folder.glob('.*'))


def test_kept__nothing_if_not_wanted(photos, tmp_path):
    cfg = recipe('tokenizer', photos, tmp_path)
    cfg.default_hooks.non_finite.max_kept = 0
    _, _, (line,) = run(cfg, Poison([1]))
    assert 'replay' not in line
    assert not (tmp_path / 'non_finite').exists()


def test_keep__a_full_disk_costs_a_warning(photos, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(28, 'No space left on device')

    module = 'mmcae.engine.hooks.non_finite_hook'
    monkeypatch.setattr(f'{module}.keep_batch', refuse)
    steps, _, lines = run(recipe('tokenizer', photos, tmp_path), Poison([1]))
    assert len(steps.losses) == 8
    assert 'Iteration 2: the loss is nan' in lines[-1]


def test_other_wrapper__the_first_bad_loss_ends_the_run(photos, tmp_path):
    cfg = recipe('tokenizer', photos, tmp_path)
    cfg.optim_wrapper.type = 'OptimWrapper'
    with pytest.raises(NonFiniteError, match=r'Iteration 2.*cannot skip'):
        run(cfg, Poison([1]))


@pytest.mark.parametrize(
    ('loss', 'norm', 'scale', 'named'),
    [
        (1.0, math.inf, 4.0, False),
        (1.0, math.inf, 0.5, True),
        (math.nan, math.nan, 4.0, True),
        (1.0, 1.0, 4.0, False),
    ],
)
def test_loss_scaler__an_overflow_that_lowers_the_scale_is_normal(
    photos, tmp_path, loss, norm, scale, named
):
    class Scaled(Poison):
        """Numbers of an iteration with a loss scaler."""

        def before_train(self, runner):
            (hook,) = [h for h in runner.hooks if type(h) is NonFiniteHook]
            settle = hook._settle

            def changed():
                pending = hook._pending
                if pending is not None and pending.bad.iteration == 2:
                    pending.scaled = True
                    pending.reading.get = lambda: [loss, norm, scale]
                settle()

            hook._settle = changed
            # The numbers of the run itself are good.
            hook._is_good = lambda *_: False

    _, _, lines = run(recipe('tokenizer', photos, tmp_path), Scaled([]))
    assert bool(lines) is named


def test_runner__of_mmengine_can_use_the_hook(photos, tmp_path):
    fresh()
    runner = Runner.from_cfg(recipe('finetune', photos, tmp_path))
    _, _, lines = train(runner, Poison([1]))
    assert len(lines) == 1
