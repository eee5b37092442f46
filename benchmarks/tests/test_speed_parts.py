# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Parts of the cost benchmarks that need no model."""

import torch
import torch.nn.functional as F
from speed_tools import TOOLS  # noqa: F401  (makes the tools importable)

import scaling  # isort: skip
from speed.activations import saved_bytes
from speed.cards import fixed_bytes, largest_batch
from speed.ceilings import floor_seconds, gpu_peak, measure_ceilings
from speed.clock import Clock, alternate, ratio, summarize
from speed.counting import count
from speed.live import peak_live_bytes
from speed.ratios import ratio_rows, ratio_table
from step_costs import find_growth

CPU = torch.device('cpu')


def test_summarize_and_ratio__medians_and_minima():
    assert summarize([2.0, 1.0, 4.0]) == dict(median=2.0, min=1.0, spread=3.0)
    # Rounds are paired: one in which both are slow does not change the ratio.
    assert ratio([2.0, 30.0, 2.2], [1.0, 15.0, 1.0]) == dict(
        median=2.0, min=2.0
    )


def test_alternate__calls_in_turn():
    calls = []
    functions = {n: lambda n=n: calls.append(n) for n in 'ab'}
    times = alternate(functions, 3, Clock(CPU))
    assert ''.join(calls) == 'ababab'
    assert len(times['a']['busy']) == len(times['b']['wall']) == 3


def test_count__flops_by_kind_forward_and_backward():
    x, w = torch.randn(5, 7, requires_grad=True), torch.randn(7, 11)
    images, kernel = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 3, 3)
    q = torch.randn(1, 2, 5, 8)

    def work():
        (x @ w).sum().backward()  # the product, and its gradient for x
        F.conv2d(images, kernel)
        F.scaled_dot_product_attention(q, q, q)
        q.view(-1)  # computes nothing

    counter = count(work)
    attention = 2 * 2 * 2 * 5 * 5 * 8
    assert counter.flops == dict(
        products=2 * 2 * 5 * 7 * 11 + attention,
        convolutions=2 * 16 * 2 * 9 * 3,
    )
    assert counter.ops['mm'] == 2
    assert 'view' not in counter.ops


def test_saved_bytes__counts_each_storage_once_and_no_weights():
    weight = torch.randn(16, 16, requires_grad=True)
    x = torch.randn(4, 16)

    def forward():
        y = x @ weight.t()  # keeps x
        z = y * y  # keeps y, twice
        return z.sum()  # keeps nothing

    assert saved_bytes(forward, [weight]) == 2 * 4 * 4 * 16
    assert saved_bytes(forward, []) > 2 * 4 * 4 * 16 - 1


def test_peak_live_bytes__does_not_count_what_is_freed():
    x = torch.randn(1000)

    def work():
        a = x * 2
        b = a * 2  # two live
        del a
        x.mul_(1)  # x is known, so it does not count
        c = (b * 2).view(10, 100)
        return c * 2  # b, c and the result: three live

    assert peak_live_bytes(work, [x]) == 3 * 4000


def test_floor_seconds__adds_products_convolutions_and_copies():
    ceilings = dict(products=10.0, convolutions=5.0, copy=28.0)
    flops = dict(products=20, convolutions=5)
    assert floor_seconds(flops, 3, ceilings) == 2 + 1 + 3


def test_measure_ceilings__positive_for_small_shapes():
    found = measure_ceilings(
        torch.float32, CPU, 1, linear=((4, 8, 8),), convolution=((2, 4, 2),)
    )
    assert set(found) == {
        'products',
        'products_torch',
        'convolutions',
        'copy',
    }
    assert min(found.values()) > 0
    assert found['products'] >= found['products_torch']


def test_gpu_peak__found_by_a_part_of_the_name():
    assert gpu_peak('NVIDIA A100-SXM4-80GB') == 312e12
    assert gpu_peak('unheard of') is None


def test_largest_batch__keeps_a_reserve_and_rounds_down():
    fixed = fixed_bytes(num_trained=10**8, num_frozen=10**8, copies=10**8)
    assert fixed == 16e8 + 4e8 + 1e8
    # (24 - 1) GB without a tenth of it and without 2.1 GB are 18.6 GB.
    assert largest_batch(24e9, fixed, 1e8) == 184
    assert largest_batch(24e9, 30e9, 1e8) == 0


def test_predict__relative_to_the_first_point_of_an_implementation():
    points = [
        dict(implementation=name, min=seconds, flops=flops)
        for name, seconds, flops in (('a', 2.0, 10), ('b', 4.0, 20))
        for seconds, flops in ((seconds, flops), (3 * seconds, 2 * flops))
    ]
    found = scaling.predict(points)
    assert [p['x'] for p in found] == [1, 3, 1, 3]
    assert [p['predicted'] for p in found] == [1, 2, 1, 2]


def test_find_growth__names_what_grew_and_by_how_much():
    before = dict(step=dict(flops=10, kept=5, operations=dict(mm=2, add=3)))
    assert find_growth(before, before) == []
    # Other operations are no growth, unless their number grows.
    fewer = dict(step=dict(flops=9, kept=5, operations=dict(mm=2, mul=2)))
    assert find_growth(before, fewer) == []
    more = dict(step=dict(flops=11, kept=6, operations=dict(mm=4, add=3)))
    assert find_growth(before, more) == [
        'step: flops 10 -> 11',
        'step: kept 5 -> 6',
        'step: operations 5 -> 7 (mm 2 -> 4)',
    ]


def test_ratio_rows__above_one_if_ours_is_better():
    def entry(median, least):
        return dict(ratio=dict(median=median, min=least))

    run = dict(
        precision='fp32',
        batch_size=4,
        steps=dict(mmcae=entry(1, 1), mmpretrain=entry(1.5, 1.25)),
        memory=dict(mmcae=dict(per_image=100), mmpretrain=dict(per_image=250)),
    )
    run['parts'] = {
        name: {
            part: dict(forward=seconds)
            for part in ('encoder', 'upkeep', 'clip', 'optimizer')
        }
        for name, seconds in (('mmcae', 1.0), ('mmpretrain', 4.0))
    }
    result = dict(tokens='computed', threads=1, runs=[run])
    rows = ratio_rows('step', result)
    assert [tuple(row)[1:] for row in rows] == [
        ('mmpretrain', 1.5, 1.25),
        ('mmpretrain', 2.5, None),
        ('mmpretrain', 4.0, None),
    ]
    rows_of_two = ratio_rows('threads2/step', {**result, 'threads': 2})
    assert rows_of_two[0].what.endswith('batch 4, 2 threads')
    table = ratio_table(rows)
    assert '| time of a step, fp32, batch 4 | mmpretrain | 1.50 | 1.25 |' in (
        table
    )
    data = dict(
        ours=['pil', 'fast'],
        times=dict(
            mmpretrain=dict(total=3.0),
            pil=dict(total=4.0),
            fast=dict(total=2.0),
            authors=dict(total=5.0),
        ),
        masks_per_second=dict(mmpretrain=10.0, mmcae=60.0),
    )
    rows = ratio_rows('dataloader', data)
    assert [tuple(row)[1:3] for row in rows] == [
        ('mmpretrain', 0.75),
        ('authors', 1.25),
        ('mmpretrain', 1.5),
        ('authors', 2.5),
        ('mmpretrain', 6.0),
    ]
    assert ratio_rows('scaling', {}) == []
