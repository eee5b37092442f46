# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What ``make_weights.py`` writes beside the weights."""

import json

import make_weights
import pytest
import torch
from make_weights import DATA, compare, rounded, table, write_manifest
from runs import REPO

from mmcae.checkpoint.packaged import packaged_weights


def test_docs__show_the_numbers_of_the_manifest():
    before, after = make_weights.MARKS
    page = make_weights.PAGE.read_text()
    shown = page.partition(f'{before}\n')[2].partition(after)[0]
    assert shown == f'{table(packaged_weights())}\n'


def test_data__every_config_has_its_file_in_the_package():
    made = set()
    for data in DATA.values():
        made |= {data.tokenizer, data.cae, data.classifier} - {None}
    recipes = {record['recipe'] for record in packaged_weights().values()}
    assert made == recipes
    for path in made:
        assert (REPO / path).is_file(), path


def test_rounded__leaves_integers_alone():
    state = dict(a=torch.tensor([1.0, 1e-3]), b=torch.tensor([70000]))
    small = rounded(state)
    assert small['a'].dtype == torch.float16
    assert torch.equal(small['b'], state['b'])


def test_compare__numbers_with_float16_and_what_changes():
    exact = dict(psnr=20.0, tokens=torch.tensor([[1, 2, 3, 4]]))
    small = dict(psnr=19.0, tokens=torch.tensor([[1, 2, 3, 5]]))
    numbers, other = compare(exact, small)
    assert numbers == dict(psnr=19.0)
    assert other == dict(psnr=20.0, same_tokens=75.0)
    features = torch.tensor([[1.0, -2.0]])
    _, other = compare(
        dict(features=features), dict(features=features + 0.002)
    )
    assert other['feature_error'] == pytest.approx(1e-3)


def test_write_manifest__keeps_the_records_of_other_datasets(tmp_path):
    write_manifest(tmp_path, dict(b=dict(seed=0), a=dict(seed=0)))
    write_manifest(tmp_path, dict(b=dict(seed=1)))
    text = (tmp_path / 'weights.json').read_text()
    assert json.loads(text) == dict(a=dict(seed=0), b=dict(seed=1))
    assert text.index('"a"') < text.index('"b"')
