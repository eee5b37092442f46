# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Line charts: places of points, ticks, gaps and labels."""

import math
import re
from xml.etree import ElementTree

import pytest

from mmcae.visualization.charts import (
    Area,
    Series,
    line_chart,
    nice_ticks,
    number,
)


def test_line_chart__places_points_in_the_frame():
    svg = line_chart('t', [Series('', [(0, 0.0), (10, 5.0), (20, 10.0)])], 'x')
    points = re.search(r'points="([^"]+)"', svg)[1].split()
    places = [tuple(map(float, p.split(','))) for p in points]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert x0 < x2
    assert y0 > y2
    ElementTree.fromstring(svg)


def test_line_chart__leaves_out_what_is_not_finite():
    nan = [(0, math.nan), (1, math.inf)]
    assert line_chart('t', [Series('a', nan)], 'x') == ''
    svg = line_chart('t', [Series('a', nan), Series('b', [(0, 1.0)])], 'x')
    assert svg.count('<polyline') == 1
    assert '>a<' not in svg


def test_line_chart__escapes_titles_and_labels():
    svg = line_chart('<t>', [Series('<l>', [(0, 1.0)])], '<x>')
    assert not re.search('<[tlx]>', svg)


@pytest.mark.parametrize(
    ('low', 'high'), [(0, 1), (-3, 17), (1e-5, 9e-5), (5, 5), (0, 0)]
)
def test_nice_ticks__cover_the_range(low, high):
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= low
    assert ticks[-1] >= high


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (0, '0'),
        (0.25, '0.25'),
        (860, '860'),
        (12_500, '12.5k'),
        (3.2e6, '3.2M'),
        (1.5e-4, '0.00015'),
        (2e-9, '2e-9'),
    ],
)
def test_number__in_few_characters(value, text):
    assert number(value) == text


AREA = Area('band', [(0, 1.0, 3.0), (10, 2.0, 4.0), (100, 2.0, 4.0)])


def test_line_chart__draws_an_area_as_far_as_the_lines_reach():
    svg = line_chart('t', [Series('', [(5, 1.0), (20, 2.0)])], 'x', AREA)
    assert svg.index('<polygon') < svg.index('<polyline')
    outline = re.search(r'<polygon class="area" points="([^"]+)"', svg)[1]
    line = re.search(r'<polyline points="([^"]+)"', svg)[1]
    corners = [tuple(map(float, p.split(','))) for p in outline.split()]
    places = [tuple(map(float, p.split(','))) for p in line.split()]
    assert len(corners) == 6  # 5, 10 and 20, above and below
    assert corners[0][0] == corners[-1][0] == places[0][0]
    assert corners[2][0] == corners[3][0] == places[1][0]
    # At 5, the area is from 1.5 to 3.5; the line is at 1.
    heights = (corners[0][1], corners[-1][1], places[0][1])
    upper, lower, line_at = heights
    assert (line_at - upper) / (line_at - lower) == pytest.approx(5, rel=0.02)
    assert '>band<' in svg.replace(' band<', '>band<')


@pytest.mark.parametrize('points', [[(5, 1.0)], [(200, 1.0), (300, 2.0)]])
def test_line_chart__no_area_where_there_is_none(points):
    svg = line_chart('t', [Series('', points)], 'x', AREA)
    assert '<polygon' not in svg or points == [(5, 1.0)]
    ElementTree.fromstring(svg.split('<div')[0])
