# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The config inside a checkpoint is read as data."""

import pytest
from helpers.tiny_checkpoint import tiny_config
from mmengine.config import Config

from mmcae.apis.recorded_config import recorded_config
from mmcae.checkpoint.errors import UnreadableCheckpointError


def checkpoint(text):
    return dict(meta=dict(cfg=text))


def test_recorded_config__is_the_config_of_training():
    text = tiny_config().pretty_text
    expected = Config.fromstring(text, '.py')
    assert recorded_config(checkpoint(text)).to_dict() == expected.to_dict()


@pytest.mark.parametrize('meta', [{}, dict(cfg=''), dict(cfg=3), 'text'])
def test_recorded_config__is_none_without_a_config(meta):
    assert recorded_config(dict(meta=meta)) is None
    assert recorded_config(checkpoint('lr = 1')) is None


@pytest.mark.parametrize(
    'text',
    [
        'model = dict(type=__import__("os").getcwd())',
        'model = dict(**{"type": "mmcae.CAE"})',
        'model = dict([("type", "mmcae.CAE")])',
        'import os',
        'model = [x for x in range(3)]',
        'model = dict(',
        'model = ' + '(' * 500 + ')' * 500,
    ],
)
def test_recorded_config__refuses_what_is_not_a_literal(text):
    with pytest.raises(UnreadableCheckpointError, match='literals'):
        recorded_config(checkpoint(text), 'x.pth')


@pytest.mark.parametrize(
    ('model', 'named'),
    [
        ("dict(type='os.system', command='true')", 'os.system'),
        ("dict(type='mmcae.CAE', neck=[dict(type='os.remove')])", 'os.remove'),
        ("dict(type='numpy.CAE')", 'numpy.CAE'),
        ("dict(type='mmcae.CAE', _scope_='evil')", 'evil'),
        ("dict(type='CAEE')", 'CAEE'),
        ('dict(type=3)', '3'),
    ],
)
def test_recorded_config__refuses_classes_that_are_not_registered(
    model, named
):
    with pytest.raises(UnreadableCheckpointError, match=named):
        recorded_config(checkpoint(f'model = {model}'))
