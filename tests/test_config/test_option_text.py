# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From the text of an option to its value."""

import argparse

import pytest
from mmengine.config import Config, DictAction

from mmcae.config.option_text import parse_value
from mmcae.config.overrides import apply_options
from mmcae.launch.runner import add_common_arguments


def test_parse_value__agrees_with_mmengine_where_that_is_right(subtests):
    for text in (
        '1',
        '-2',
        '1e-3',
        'a',
        'true',
        'False',
        'None',
        '',
        'a=b',
        'a,b',
        '1,2',
        '1, 2',
        '[1,2]',
        '[a, b, c]',
        '(1,2)',
        '(1,)',
        '[]',
        '()',
        '[(1, 2, 3), [a, b], c]',
        '[[1,2],[3]]',
        'x,(1,2)',
        "['a','b']",
        'train_data/part_1',
        '~/photos',
        '[True,None,1e-3]',
    ):
        with subtests.test(text):
            value, theirs = parse_value(text), DictAction._parse_iterable(text)
            assert (value, type(value)) == (theirs, type(theirs))


def test_parse_value__blanks_commas_and_quotes(subtests):
    for text, value in (
        ('my photos', 'my photos'),
        ('My Photos, 2026', 'My Photos, 2026'),
        ('/home/me/My Photos, 2026/a', '/home/me/My Photos, 2026/a'),
        ("it's, fine", "it's, fine"),
        ('photos (2026', 'photos (2026'),
        ('[2026], photos', '[2026], photos'),
        ('"a,b"', 'a,b'),
        ("'8'", '8'),
        ("'[a]'", '[a]'),
        ('[a b, c]', ['a b', 'c']),
        ('[\'My Photos, 2026\', (b, "c]")]', ['My Photos, 2026', ('b', 'c]')]),
        ('(1, 2), (3, 4)', [(1, 2), (3, 4)]),
    ):
        with subtests.test(text):
            assert parse_value(text) == value


def test_parse_value__brackets_that_do_not_close(subtests):
    for text in ('[1,2', '(1,[2)', '[1]]', "[a,'b]"):
        with (
            subtests.test(text),
            pytest.raises(ValueError, match='brackets'),
        ):
            parse_value(text)


def test_cfg_options__the_present_value_decides_what_is_ambiguous(subtests):
    for present, text, value in (
        # text stays text
        ('data/set', 'photos,2026', 'photos,2026'),
        ('data/set', '2026', '2026'),
        ('here', 'photos,2026', 'photos,2026'),
        ('here', '2026', 2026),
        ('dynamic', '512', 512),
        # but these say what they are
        ('data/set', 'None', None),
        ('data/set', '[a,b]', ['a', 'b']),
        # other values decide nothing
        (3, 'a,b', ['a', 'b']),
        (None, 'a,b', ['a', 'b']),
        (['c'], 'a,b', ['a', 'b']),
    ):
        with subtests.test(f'{present!r} {text}'):
            parser = argparse.ArgumentParser()
            add_common_arguments(parser)
            options = parser.parse_args(['--cfg-options', f'model.x={text}'])
            cfg = Config(dict(model=dict(x=present)))
            apply_options(cfg, options.cfg_options)
            assert cfg.model.x == value


@pytest.mark.parametrize('old', ['data', 'data/set'])
@pytest.mark.parametrize('new', ['My Photos, 2026', 'a,b', '2026', '~/x y'])
def test_cfg_options__any_folder_is_a_data_root(old, new):
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    args = parser.parse_args(
        [
            '--cfg-options',
            f'data_root={new}',
            'launcher=none',
            '--cfg-options',
            'log_level=INFO',
        ]
    )
    dataset = dict(data_root=old, ann_file=f'{old}/a.txt')
    cfg = Config(dict(data_root=old, train_dataloader=dict(dataset=dataset)))
    apply_options(cfg, args.cfg_options)
    assert cfg.data_root == new
    assert cfg.train_dataloader.dataset.data_root == new
    assert cfg.train_dataloader.dataset.ann_file == f'{new}/a.txt'
    assert (cfg.launcher, cfg.log_level) == ('none', 'INFO')
