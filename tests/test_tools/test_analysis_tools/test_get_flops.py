# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Compare the numbers in the metafiles with counted ones."""

import runpy
from pathlib import Path

import pytest
from helpers import toy_project
from helpers.scripts import importable

import mmcae
from mmcae.config.search_path import find_config, resource_root

TOOL = Path(mmcae.__file__).parents[1] / 'tools/analysis_tools/get_flops.py'
TINY = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
METAFILE = """Models:
  - Name: other
    Metadata:
      Parameters: 1
      Training Data: digits
    Config: other.py
  - Name: {name}
    # A comment.
    Metadata:
      Epochs: 80
      Parameters: 317569
      Training Data: digits
    Config: {config}
"""


@pytest.fixture(scope='module')
def tool():
    with importable(TOOL.parent):
        return runpy.run_path(str(TOOL))


@pytest.mark.slow
def test_metafiles__numbers_are_as_counted(tool):
    for path in tool['metafiles']():
        assert tool['correct_metafile'](path, write=False) == []


def test_metafiles__are_those_of_the_index(tool):
    root = resource_root()
    assert root / 'configs/cae/metafile.yml' in list(tool['metafiles']())


def test_corrected__changes_two_lines_of_one_entry(tool):
    before = METAFILE.format(name=TINY, config='x.py')
    numbers = {'FLOPs': 4727808, 'Parameters': 317568}
    after = tool['corrected'](before, TINY, numbers)
    changed = set(after.splitlines()) ^ set(before.splitlines())
    assert changed == {
        '      FLOPs: 4727808',
        '      Parameters: 317568',
        '      Parameters: 317569',
    }
    assert tool['corrected'](after, TINY, numbers) == after
    without = tool['corrected'](after, TINY, {'FLOPs': None})
    assert 'FLOPs' not in without
    assert len(without.splitlines()) == len(before.splitlines())


def test_correct_metafile__writes_only_when_asked(tool, tmp_path):
    text = METAFILE.format(name=TINY, config=find_config(TINY))
    text = 'Models:\n' + text[text.index(f'  - Name: {TINY}') :]
    path = tmp_path / 'metafile.yml'
    path.write_text(text)
    found = tool['correct_metafile'](path, write=False)
    assert found == [
        f'{TINY}: FLOPs None, counted 4727808',
        f'{TINY}: Parameters 317569, counted 317568',
    ]
    assert path.read_text() == text
    tool['correct_metafile'](path, write=True)
    assert tool['correct_metafile'](path, write=False) == []


def test_main__prints_the_parts_of_one_config(tmp_path, monkeypatch, capsys):
    assert toy_project.run_script(TOOL, [TINY], tmp_path, monkeypatch) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['metafile', '317,568', '4,727,808'] in rows
    assert ['tokenizer', '*', '180,532', '630,784'] in rows


def test_main__check_fails_on_a_wrong_number(tmp_path, monkeypatch, capsys):
    text = METAFILE.format(name=TINY, config=find_config(TINY))
    text = 'Models:\n' + text[text.index(f'  - Name: {TINY}') :]
    (tmp_path / 'metafile.yml').write_text(text)
    (tmp_path / 'model-index.yml').write_text('Import: [metafile.yml]')
    monkeypatch.setattr(
        'mmcae.config.search_path.resource_root', lambda: tmp_path
    )
    arguments = (tmp_path, monkeypatch)
    assert toy_project.run_script(TOOL, ['--check'], *arguments) == 1
    assert 'counted 317568' in capsys.readouterr().out
    assert toy_project.run_script(TOOL, ['--write'], *arguments) == 0
    assert toy_project.run_script(TOOL, ['--check'], *arguments) == 0
    assert 'all numbers are as counted' in capsys.readouterr().out
