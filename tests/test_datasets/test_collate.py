# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Batches in which some samples have stored tokens."""

import torch

from mmcae.datasets import collate_views


def sample(number, stored):
    views = [torch.full((3, 4, 4), number, dtype=torch.uint8)]
    if not stored:
        views.append(torch.full((3, 2, 2), number, dtype=torch.uint8))
    return dict(inputs=views, data_samples=f'sample {number}')


def test_collate_views__joins_the_existing_second_views():
    batch = collate_views([sample(i, stored=i in (1, 3)) for i in range(5)])
    first, second = batch['inputs']
    assert first.shape == (5, 3, 4, 4)
    assert first[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert second.shape == (3, 3, 2, 2)
    assert second[:, 0, 0, 0].tolist() == [0, 2, 4]
    assert batch['data_samples'] == [f'sample {i}' for i in range(5)]


def test_collate_views__adds_an_empty_tensor_without_second_views():
    first, second = collate_views([sample(i, True) for i in range(2)])[
        'inputs'
    ]
    assert first.shape == (2, 3, 4, 4)
    assert second.shape[:2] == (0, 3)
    assert second.dtype == first.dtype
