# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The text of a report, and the report of a conversion."""

import torch

from mmcae.checkpoint.load_report import LoadReport, conversion_report


def test_report__long_lists_are_cut():
    names = [f'part{c}' for c in 'abcdefghij']
    report = LoadReport('Loaded', names, names, missing=names)
    assert '{parta,' in str(report)
    names = [f'{c}.weight' for c in 'abcdefghij']
    report = LoadReport('Loaded', names, [], unexpected=names)
    assert str(report).endswith('h.weight, ... and 2 more')


def test_conversion_report__follows_the_tensors():
    source = {k: torch.randn(4) for k in ('same', 'old.w', 'split', 'gone')}
    q, v = source['split'].chunk(2)
    result = {
        'same': source['same'],
        'new.w': source['old.w'],
        'q': q,
        'v': v,
    }
    assert str(
        conversion_report('Converted', source, result)
    ).splitlines() == [
        'Converted: 1 matched, 0 missing, 0 unexpected, 0 resized, '
        '1 dropped, 2 renamed, 1 derived',
        '  renamed: old.w, split -> new.w, q',
        '  derived: v',
        '  dropped: gone',
    ]


def test_conversion_report__does_not_say_0_matched_if_all_are_renamed():
    source = {'a': torch.randn(4), 'b': torch.randn(4)}
    result = {'x': source['a'], 'y': source['b']}
    text = str(conversion_report('Written to f.pth', source, result))
    first = text.splitlines()[0]
    assert first == 'Written to f.pth: 2 renamed, nothing missing'
    text = str(conversion_report('Written', source, {'x': source['a']}))
    first = text.splitlines()[0]
    assert first == 'Written: 1 dropped, 1 renamed, nothing missing'
