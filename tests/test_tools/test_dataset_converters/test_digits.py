# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the digits as folders, and read them with the configs."""

import re
import sys
from pathlib import Path

import pytest
from helpers.scripts import load_script

from mmcae.config.search_path import list_configs
from mmcae.utils import load_config

digits = load_script('tools/dataset_converters/digits.py')
ROOT = Path(__file__).parents[3]


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['digits.py', *map(str, args)])
    return digits.main()


@pytest.mark.parametrize('first', [(), ('--class-folders',)])
def test_digits__refuses_two_layouts_in_one_folder(
    tmp_path, monkeypatch, capsys, first
):
    root = tmp_path / 'digits'
    assert run(monkeypatch, root, *first) == 0
    assert len(list(root.rglob('*.png'))) == 1797
    assert len(list(root.glob('train/*/*.png'))) == (1400 if first else 0)
    # A second run writes the same files.
    assert run(monkeypatch, root, *first) == 0
    assert len(list(root.rglob('*.png'))) == 1797
    # In the other layout, each image would exist twice.
    other = () if first else ('--class-folders',)
    capsys.readouterr()
    assert run(monkeypatch, root, *other) == 1
    text = capsys.readouterr().err
    assert text.startswith(f'error: {root}/train has the images in ')
    assert len(text.splitlines()) == 1
    assert len(list(root.rglob('*.png'))) == 1797


def test_configs__read_the_folders_that_the_docs_make():
    commands = re.compile(
        r'^python tools/dataset_converters/digits.py (\S+)(.*)$', re.M
    )
    told = {'': set(), ' --class-folders': set()}
    for page in ('README.md', 'docs/get_started.md', 'docs/evaluate.md'):
        for folder, option in commands.findall((ROOT / page).read_text()):
            told[option].add(folder)
    assert told[''].isdisjoint(told[' --class-folders'])
    count = 0
    for path in list_configs():
        if 'digits-32px' not in path.stem:
            continue
        root = load_config(path).data_root
        if 'benchmarks' in path.parts:
            assert {root} == told[' --class-folders']
        else:
            assert {str(Path(root).parent)} == told['']
        count += 1
    assert count == 6
