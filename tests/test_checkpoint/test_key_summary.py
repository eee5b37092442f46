# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Many tensor names become a few words."""

import pytest

from mmcae.checkpoint.key_summary import summarize_keys


@pytest.mark.parametrize(
    ('names', 'folded'),
    [
        ([], []),
        (['cls_token'], ['cls_token']),
        ([f'l.{i}.gamma' for i in range(12)], ['l.{0..11}.gamma (12)']),
        ([f'l.{i}.w' for i in (0, 1, 2, 7, 9)], ['l.{0..2,7,9}.w (5)']),
        (['l.3.w'], ['l.3.w']),
        (['h.weight', 'h.bias'], ['h.{weight,bias} (2)']),
        (
            [f'l.{i}.ffn.layers.{j}.{k}' for i in (0, 1) for j in (0, 1)
             for k in ('w', 'b')],
            ['l.{0..1}.ffn.layers.0.{w,b} (4)',
             'l.{0..1}.ffn.layers.1.{w,b} (4)'],
        ),
        # Names with different numbers get different entries.
        (['l.0.w', 'l.1.w', 'l.0.b'], ['l.{0..1}.w (2)', 'l.0.b']),
    ],
)  # fmt: skip
def test_summarize_keys__numbers_and_endings(names, folded):
    assert summarize_keys(names) == folded


def test_summarize_keys__whole_parts():
    among = ['head.w', 'head.b', 'l.0.w', 'l.0.b', 'l.1.w', 'l.1.b', 'x.w']
    assert summarize_keys(['head.w', 'head.b', 'x.w'], among) == [
        'head.* (2)',
        'x.w',
    ]
    assert summarize_keys(among[2:6], among) == ['l.* (4)']
    assert summarize_keys(among[4:6], among) == ['l.1.* (2)']
    assert summarize_keys(among[:1], among) == ['head.w']
