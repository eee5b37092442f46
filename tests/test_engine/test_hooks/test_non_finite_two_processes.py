# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Several processes skip the same batch, and its rank and files are named."""

import os
import socket

import pytest
import torch
from helpers.bad_batches import Poison, PoisonGradient, fresh, recipe, train
from mmengine.dist import get_rank

from mmcae.engine.hooks.non_finite_hook import NonFiniteError
from mmcae.launch.runner import build_runner


def free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def train_as(rank, port, photos, folder, poison, at, ranks):
    """Train as one of two processes; save what the run did."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        LOCAL_WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    fresh()
    cfg = recipe('finetune', photos, folder / 'run')
    cfg.launcher = 'pytorch'
    cfg.train_cfg.max_epochs = 3
    runner = build_runner(cfg)
    hook = poison(at if get_rank() in ranks else [])
    ended = ''
    try:
        steps, tensors, lines = train(runner, hook)
    except NonFiniteError as error:
        ended = str(error)
        steps, tensors, lines = None, {}, []
    torch.save(
        dict(
            ended=ended,
            lines=lines,
            files=None if steps is None else steps.files,
            tensors=tensors,
        ),
        folder / f'{rank}.pth',
    )


def in_two_processes(photos, folder, poison, at, ranks):
    context = torch.multiprocessing.get_context('fork')
    port = free_port()
    processes = [
        context.Process(
            target=train_as,
            args=(rank, port, photos, folder, poison, at, ranks),
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return [torch.load(folder / f'{rank}.pth') for rank in range(2)]


def assert_same_finite(one, two):
    assert one.keys() == two.keys()
    assert one
    for key, value in one.items():
        assert torch.equal(value, two[key]), key
        assert value.isfinite().all()


def test_bad_loss_of_one_rank__is_named_and_skipped_by_both(
    class_photos, tmp_path
):
    first, second = in_two_processes(
        class_photos, tmp_path, Poison, [2], ranks=[1]
    )
    assert_same_finite(first['tensors'], second['tensors'])
    (line,) = first['lines']
    assert line.startswith('Iteration 3: on rank 1, the loss is nan')
    assert all(file in line for file in second['files'][2])
    assert not any(file in line for file in first['files'][2])
    kept = {p.name for p in (tmp_path / 'run/non_finite/iter_3').iterdir()}
    assert kept == {
        'batch_rank_1.pth',
        'weights.pth',
        'config.py',
        'report.json',
    }


@pytest.mark.slow
def test_bad_gradient_of_one_rank__is_skipped_by_both(class_photos, tmp_path):
    first, second = in_two_processes(
        class_photos, tmp_path, PoisonGradient, [2], ranks=[1]
    )
    assert_same_finite(first['tensors'], second['tensors'])
    (line,) = first['lines']
    assert 'on rank 0' in line
    assert 'on rank 1' in line


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [[0], [1]])
def test_three_in_a_row__end_both(class_photos, tmp_path, ranks):
    both = in_two_processes(
        class_photos, tmp_path, Poison, [1, 2, 3], ranks=ranks
    )
    for result in both:
        assert '3 steps in a row (iterations 2, 3, 4)' in result['ended']
