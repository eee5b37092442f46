# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A resumed run equals one that was not interrupted, bit by bit."""

import itertools

import pytest
import torch
from helpers import exact_runs
from helpers.exact_runs import run
from helpers.resumed_runs import FallingMetric
from mmengine.evaluator import Evaluator

from mmcae.checkpoint.plain_values import ResumeError
from mmcae.checkpoint.work_dir import checkpoints_in
from mmcae.engine.random_state import check_random_state, get_random_state


def assert_equal(one: dict, other: dict) -> None:
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=0)


#: (epoch loop, workers, iterations before the stop, accumulated batches);
#: an epoch has 5 iterations
CASES = [
    *itertools.product((True, False), (0,), (5, 7, 10), (1, 4)),
    (True, 2, 7, 1),
    (True, 2, 10, 1),
    (False, 2, 7, 1),
]


def test_resume__is_exact(tmp_path, subtests):
    whole = {}
    for number, (by_epoch, workers, stop, accumulate) in enumerate(CASES):
        options = dict(by_epoch=by_epoch, accumulate=accumulate)
        key = (by_epoch, accumulate)
        if key not in whole:
            whole[key] = run(tmp_path / f'{by_epoch}{accumulate}', **options)
        record, weights, _ = whole[key]
        with subtests.test(**options, workers=workers, stop=stop):
            folder = tmp_path / str(number)
            options['workers'] = workers
            before, _, _ = run(folder, stop=stop, **options)
            after, end, _ = run(folder, resume=True, **options)
            assert before.losses + after.losses == record.losses
            assert before.indices + after.indices == record.indices
            assert_equal(weights, end)


def test_workers__change_nothing(tmp_path, subtests):
    for by_epoch in (True, False):
        with subtests.test(by_epoch=by_epoch):
            none = run(tmp_path / f'0-{by_epoch}', by_epoch, workers=0)
            two = run(tmp_path / f'2-{by_epoch}', by_epoch, workers=2)
            assert none[0].losses == two[0].losses
            assert_equal(none[1], two[1])


def test_validation__changes_no_draw(tmp_path):
    plain, weights, _ = run(tmp_path / 'plain')
    validated, others, _ = run(
        tmp_path / 'validated',
        val_dataloader=dict(
            batch_size=4,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=exact_runs.Rows(),
        ),
        val_cfg=dict(),
        val_evaluator=Evaluator([FallingMetric()]),
    )
    assert validated.losses == plain.losses
    assert_equal(weights, others)


def test_loops__draw_the_numbers_of_mmengines_loops(tmp_path, subtests):
    """An existing recipe gives the same weights as before."""
    for by_epoch in (True, False):
        with subtests.test(by_epoch=by_epoch):
            ours = run(tmp_path / f'ours-{by_epoch}', by_epoch)
            theirs = run(
                tmp_path / f'theirs-{by_epoch}', by_epoch, loops='mmengine'
            )
            assert ours[0].losses == theirs[0].losses


def test_resume__inside_an_epoch_decodes_nothing_twice(tmp_path):
    run(tmp_path, stop=9)
    record, _, runner = run(tmp_path, resume=True)
    assert record.first_iter == 9
    assert record.read_before_first == 4  # the batch that is trained on
    assert runner.iter == 15


def test_resume__refuses_another_number_of_batches(tmp_path, monkeypatch):
    run(tmp_path, stop=7)
    monkeypatch.setattr(exact_runs.Rows, '__len__', lambda self: 40)
    with pytest.raises(ResumeError, match='after batch 2 of 5 of an epoch'):
        run(tmp_path, resume=True)


def test_resume__of_a_whole_epoch_takes_other_data(tmp_path, monkeypatch):
    run(tmp_path, stop=None, length=1)
    monkeypatch.setattr(exact_runs.Rows, '__len__', lambda self: 40)
    record, _, _ = run(tmp_path, resume=True, length=2)
    assert len(record.losses) == 10


def test_interim_checkpoint__goes_when_a_regular_one_follows(tmp_path):
    run(tmp_path, stop=7)
    names = [path.name for path in checkpoints_in(tmp_path)]
    assert names == ['epoch_1_iter_2.pth', 'epoch_1.pth']
    run(tmp_path, resume=True)
    names = [path.name for path in checkpoints_in(tmp_path)]
    assert names == ['epoch_3.pth', 'epoch_2.pth', 'epoch_1.pth']
    assert not list(tmp_path.glob('*iter*'))


def test_resume__refuses_a_malformed_position(tmp_path, subtests):
    run(tmp_path / 'good', stop=7)
    good = torch.load(tmp_path / 'good/epoch_1_iter_2.pth', weights_only=False)
    weight = 'layers.0.weight'
    cases = [
        dict(batch=-1),
        dict(batch=6),
        dict(batch='2'),
        dict(batches=None),
        dict(gradients=[1]),
        dict(gradients={weight: torch.zeros(2)}),
        dict(gradients={weight: 'x'}),
        dict(gradients={'nothing': torch.zeros(8, 3)}),
        dict(random_states=[{}]),
        dict(random_states=['x']),
        dict(random_states=[{'torch': torch.zeros(3)}]),
    ]
    for number, change in enumerate(cases):
        with subtests.test(str(change)):
            folder = tmp_path / str(number)
            folder.mkdir()
            position = {**good['exact_resume'], **change}
            torch.save(
                {**good, 'exact_resume': position},
                folder / 'epoch_1_iter_2.pth',
            )
            with pytest.raises(ResumeError, match='Cannot resume from'):
                run(folder, resume=True)


def test_random_state__of_a_file_is_tried_before_it_is_used():
    state = get_random_state()
    wrong = {**state, 'numpy': torch.full_like(state['numpy'], -1)}
    with pytest.raises(ResumeError, match='random states'):
        check_random_state(wrong)
    after = get_random_state()
    assert all(torch.equal(state[name], after[name]) for name in state)
