# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the lanes found, and the tables that pages show of it."""

import json

import lanes
import pytest
import tested_with

LANES = {lane.name: lane for lane in lanes.LANES}


@pytest.fixture(scope='module')
def record():
    return json.loads(lanes.RECORD.read_text())


def test_record__has_every_lane_with_its_pins(record):
    assert set(record) == set(LANES)
    for name, found in record.items():
        pins = lanes.lane_pins(LANES[name])
        for package in ('torch', 'torchvision'):
            version = found['packages'][package].split('+')[0]
            assert f'{package}=={version}' in pins, (name, package)
        assert found['python'].startswith(LANES[name].python)
        assert found['tests']['failed'] == 0


def test_pages__have_the_tables_of_the_record(record):
    tables = dict(
        tested=tested_with.tested_table(record),
        supported=tested_with.supported_table(),
    )
    for page in tested_with.PAGES:
        text = (lanes.ROOT / page).read_text()
        assert tested_with.fill(text, tables) == text, page
        assert '<!-- end -->' in text


def test_fill__replaces_what_stands_between_the_comments():
    page = (
        'a\n<!-- tested: written by `make lanes` -->\nold\n<!-- end -->\nb\n'
        '<!-- supported: written by `make lanes` -->\n<!-- end -->\n'
    )
    filled = tested_with.fill(page, dict(tested='T\n', supported='S\n'))
    assert filled == page.replace('old\n', 'T\n').replace(
        'lanes` -->\n<!-- end', 'lanes` -->\nS\n<!-- end'
    )


def test_tested_table__a_lane_without_a_run_says_so(record):
    table = tested_with.tested_table({})
    assert table.count('not run') == 5 * len(LANES)
    rows = table.splitlines()
    assert len({row.count('|') for row in rows}) == 1
    assert tested_with.tested_table(record).count('|') == table.count('|')


def test_supported_table__has_the_floors():
    table = tested_with.supported_table()
    for name, version in lanes.floors().items():
        row = next(r for r in table.splitlines() if r.startswith(f'| {name} '))
        assert f'>= {version.rsplit(".", 1)[0]},' in row
