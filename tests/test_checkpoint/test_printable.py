# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Names from files are escaped before a terminal or a log gets them."""

import logging
import tracemalloc

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch import nn

from mmcae.checkpoint.key_summary import summarize_keys
from mmcae.checkpoint.load_report import LoadReport, note_resized
from mmcae.checkpoint.load_with_report import load_state_dict
from mmcae.checkpoint.official import from_official, to_official
from mmcae.checkpoint.printable import (
    printable,
    printable_lines,
    printable_names,
    printable_set,
)
from mmcae.checkpoint.weights import compare_state_dicts
from mmcae.models import CAEViT

NAMES = {
    'clear': '\x1b[2Jweight',
    'color': '\x1b[31mweight\x1b[0m',
    'newline': 'weight\n11/28 00:00:00 - mmengine - INFO - all is well',
    'return': 'weight\rok',
    'bidi': 'weight\u202egnp.exe',
    'isolate': 'a\u2066b\u2069',
    'line': 'a\u2028b\x85c',
    'bell': 'a\x07\x08\x7f',
    'null': 'a\x00b',
    'csi': 'a\x9b2J',
    'surrogate': 'a\udce9',
    'zero width': 'a\u200bb',
    'long': 'x' * 10_000,
    'long and deep': 'x.' * 5_000,
    'digits': '9' * 10_000,
    'superscript': 'layers.²',
    'dots': 'a..b',
}


def assert_clean(text):
    assert all(line.isprintable() for line in text.split('\n')), text
    assert 'INFO' not in [line.split(' - ')[0] for line in text.split('\n')]
    assert len(text) < 3000


def test_printable__is_one_short_line(subtests):
    for kind, name in NAMES.items():
        with subtests.test(kind=kind):
            shown = printable(name)
            assert shown.isprintable()
            assert len(shown) < 500


def test_printable__leaves_names_alone():
    for name in ('backbone.layers.0.ln1.weight', 'été/图 1.png', ''):
        assert printable(name) == name
    assert printable(7) == '7'
    assert printable('\x1b[2J') == '\\x1b[2J'
    assert printable('x' * 300) == 'x' * 200 + '... (300 characters)'


def test_printable_lines__keeps_lines():
    assert printable_lines('a\nb\x1b\r') == 'a\nb\\x1b\\r'


def test_reports__show_escaped_names(subtests):
    for kind, name in NAMES.items():
        with subtests.test(kind=kind):
            assert_reports_are_clean(name)


def assert_reports_are_clean(name):
    assert_clean(', '.join(summarize_keys([name, name + '.1', name + '.2'])))
    report = LoadReport(
        name,
        given=[name],
        expected=[name, 'b'],
        missing=[name],
        unexpected=[name],
        misfit={name: ((1,), (2,))},
        resized={name: ((1,), (2,))},
        renamed=[(name, name)],
        derived=[name],
        dropped=[name],
    )
    lines = str(report).splitlines()
    assert len(lines) == 8
    for line in lines:
        assert_clean(line)
    one = torch.ones(1)
    assert_clean('; '.join(compare_state_dicts({'a': one}, {name: one})))
    assert_clean('; '.join(compare_state_dicts({name: one}, {'a': one})))


def test_summarize_keys__a_deep_name_costs_little():
    """It has a parent for each dot: 9 MB of names, unless it is cut."""
    tracemalloc.start()
    summarize_keys(['x.' * 3000 + 'y', 'x.' * 3000 + 'z'])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def test_converters__show_escaped_names(subtests):
    for kind, name in NAMES.items():
        for convert in (from_official, to_official):
            with subtests.test(kind=kind, convert=convert.__name__):
                with pytest.raises(ValueError) as info:  # noqa: PT011
                    convert({name: torch.ones(1)})
                assert_clean(str(info.value))
                assert '\n' not in str(info.value)


def test_note_resized__shows_an_escaped_name(caplog):
    with caplog.at_level(logging.INFO, 'mmengine'):
        note_resized(NAMES['clear'], (1,), (2,))
    assert '\x1b' not in caplog.text


def test_load__refuses_names_that_cannot_be_shown(tmp_path, capfd, subtests):
    """For every model, because mmengine prints names without escaping."""
    path = tmp_path / 'w.pth'
    for kind in ('clear', 'newline', 'long'):
        with subtests.test(kind=kind):
            torch.save({'state_dict': {NAMES[kind]: torch.ones(1)}}, path)
            with pytest.raises(ValueError, match='must be printable') as info:
                load_checkpoint(nn.Linear(1, 1), str(path))
            assert_clean(str(info.value))
            captured = capfd.readouterr()
            assert '\x1b' not in captured.out + captured.err


def test_load_state_dict__advice_is_escaped():
    model = CAEViT('small', img_size=32, patch_size=16)
    prefix = NAMES['clear'] + '.'
    state = {prefix + k: v for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match='nothing of the encoder') as info:
        load_state_dict(model, state)
    assert_clean(str(info.value))


def test_printable__shows_short_lists_and_the_kind_of_others():
    assert printable([0, 1]) == '[0, 1]'
    assert printable((0.9, 'a\x1b')) == r'(0.9, a\x1b)'
    assert printable([[0], 1]) == 'a list'
    assert printable(tuple(range(100))) == 'a tuple'
    assert printable({'a': 1}) == 'a dict'
    assert printable(1 << 5000) == 'a number of 5001 bits'
    assert printable(b'x' * 500, 10).startswith("b'xxxxxx")


def test_printable__cuts_and_escapes():
    assert printable('a\u202eb\r') == r'a\u202eb\r'
    assert printable('a' * 200, 10) == 'a' * 10 + '... (200 characters)'


def test_printable_names__shows_the_first_few():
    assert printable_names([]) == ''
    assert printable_names(['a', 'b\x1b', 3]) == r'a, b\x1b, 3'
    assert printable_names('abcd') == 'a, b, c, ...'
    assert printable_set({'b', 'a'}) == '(a, b)'
