# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""File names, model names, metafiles and configs say the same."""

import functools
import re

import pytest
import yaml
from mmengine.config import Config

from mmcae.config.search_path import list_configs, resource_root

MARKS = ('quoted (official)', 'quoted (OpenMMLab)', 'measured here')
NAME = re.compile(
    r'(?P<model>[a-z0-9-]+(_[a-z0-9-]+)*)_'
    r'(?P<processes>\d+)xb(?P<batch>\d+)-(?P<setting>[a-z0-9-]+)'
    r'_(?P<data>[a-z0-9-]+)'
)
PATHS = {path.stem: path for path in list_configs()}


@functools.cache
def load(name: str) -> Config:
    return Config.fromfile(PATHS[name])


def listed() -> dict[str, dict]:
    root = resource_root()
    index = yaml.safe_load((root / 'model-index.yml').read_text('utf-8'))
    return {
        model['Name']: model
        for entry in index['Import']
        for model in yaml.safe_load((root / entry).read_text('utf-8'))[
            'Models'
        ]
    }


LISTED = listed()


def test_metafiles__list_every_config_by_its_file_name():
    assert sorted(LISTED) == sorted(PATHS)
    root = resource_root()
    for name, model in LISTED.items():
        assert root / model['Config'] == PATHS[name]


def test_name__is_what_the_config_does(subtests):
    for name in sorted(LISTED):
        with subtests.test(name):
            check_name(name)


def check_name(name: str) -> None:
    """Batch, accumulation, length and precision are those of the name."""
    config = load(name)
    parts = NAME.fullmatch(name)
    assert parts, f'{name} is not MODEL_PxbB-SETTING_DATA'
    words = parts['setting'].split('-')
    loader, wrapper = config.train_dataloader, config.optim_wrapper
    assert loader.batch_size == int(parts['batch'])
    accumulated = wrapper.get('accumulative_counts', 1)
    for word in words:
        if word.startswith('accum'):
            assert accumulated == int(word.removeprefix('accum'))
    metadata = LISTED[name]['Metadata']
    total = int(parts['processes']) * loader.batch_size * accumulated
    assert metadata['Batch Size'] == total
    lengths = [word for word in words if re.fullmatch(r'\d+[eki]', word)]
    assert len(lengths) == 1, 'one length, as 300e, 160k or 400i'
    number, unit = int(lengths[0][:-1]), lengths[0][-1]
    if unit == 'e':
        assert config.train_cfg.max_epochs == metadata['Epochs'] == number
    else:
        steps = config.train_cfg.max_iters
        factor = {'k': 1000, 'i': 1}[unit]
        assert steps == metadata['Iterations'] == factor * number
    assert ('amp' in words or 'bf16' in words) <= (
        wrapper.type == 'mmcae.AmpOptimWrapper'
    )
    assert ('bf16' in words) == (wrapper.get('dtype') == 'bfloat16')


def test_schedule__ends_with_the_training(subtests):
    for name in sorted(LISTED):
        with subtests.test(name):
            check_schedule(name)


def check_schedule(name: str) -> None:
    """The last scheduler ends at the last epoch or iteration."""
    config = load(name)
    by_epoch = 'max_epochs' in config.train_cfg
    length = config.train_cfg['max_epochs' if by_epoch else 'max_iters']
    last = config.param_scheduler[-1]
    # As in mmseg, PolyLR ends one iteration later, so that the last iteration
    # is not at the floor.
    assert last.end == length or (not by_epoch and last.end == length + 1)
    assert last.get('by_epoch', True) == by_epoch


def refuse_unmarked(model: dict) -> None:
    """Every result says where it comes from; entries without have no mark."""
    mark = model['Metadata'].get('Source of Results')
    if not model.get('Results'):
        assert mark is None, f'{model["Name"]}: a mark without results'
        return
    assert mark in MARKS, f'{model["Name"]}: {mark} is none of {MARKS}'
    for result in model['Results']:
        assert result['Task']
        assert result['Dataset']
        assert all(value > 0 for value in result['Metrics'].values())


def test_results__are_marked_as_quoted_or_measured(subtests):
    for name, model in sorted(LISTED.items()):
        with subtests.test(name):
            refuse_unmarked(model)


RESULT = dict(
    Task='Image Classification',
    Dataset='ImageNet-1k',
    Metrics={'Top 1 Accuracy': 83.6},
)


def test_results__other_marks_are_refused(subtests):
    for mark, results in (
        (None, [RESULT]),
        ('measured', [RESULT]),
        ('measured here', None),
    ):
        model = dict(Name='x', Metadata={'Source of Results': mark})
        model['Results'] = results
        with subtests.test(mark=mark), pytest.raises(AssertionError):
            refuse_unmarked(model)


def test_results__of_the_metafile_are_in_the_readme():
    text = (resource_root() / 'configs/cae/README.md').read_text('utf-8')
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('| CAE-')
    ]
    table = {(row[0], row[1]): row[2:5] for row in rows}
    columns = {'linear': 0, 'attentive': 1}
    found = 0
    for name, model in LISTED.items():
        parts = NAME.fullmatch(name)
        if not model['Results'] or '_cae-pre' not in parts['model']:
            continue
        if model['Results'][0]['Task'] != 'Image Classification':
            continue
        size = next(size for size in ('base', 'large', 'tiny') if size in name)
        epochs = {'base': '300', 'large': '1600'}.get(size)
        if epochs is None:
            continue
        column = columns.get(parts['setting'].split('-')[0], 2)
        accuracy = model['Results'][0]['Metrics']['Top 1 Accuracy']
        assert float(table[f'CAE-{size}', epochs][column]) == accuracy
        found += 1
    assert found >= 6
