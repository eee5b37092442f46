# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import pytest

from mmcae.utils.durations import duration_text


@pytest.mark.parametrize(
    ('seconds', 'text', 'exact'),
    [
        (0.4, '1 s', '1 s'),
        (59.6, '60 s', '60 s'),
        (75, '75 s', '75 s'),
        (130, '2 min', '2 min 10 s'),
        (240, '4 min', '4 min'),
        (1500, '25 min', '25 min'),
        (7200, '2 h', '2 h'),
        (12_000, '3 h 20 min', '3 h 20 min'),
        (180_000, '2 days', '2 days 2 h'),
        (172_800, '2 days', '2 days'),
        (10**6, '12 days', '11 days 14 h'),
    ],
)
def test_duration_text(seconds, text, exact):
    assert duration_text(seconds) == text
    assert duration_text(seconds, exact=True) == exact
