# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The console gets few lines, the log file gets all."""

import logging
import sys
import warnings

import pytest
from mmengine.logging import MMLogger

from mmcae.false_alarms import without_false_alarms
from mmcae.launch.console import ConsoleFilter, console_handlers, is_full


def passes(text: str, level: int = logging.INFO) -> bool:
    record = logging.LogRecord('mmengine', level, 'f', 1, text, (), None)
    return ConsoleFilter().filter(record)


@pytest.mark.parametrize(
    'text',
    [
        '\n' + '-' * 60 + '\nSystem environment:\n    sys.platform: linux',
        'Config:\nbatch_size = 32',
        'Hooks will be executed in the following order:\nbefore_run:',
        'Exp name: cae_20261128',
        '"FileClient" will be deprecated in future. Please use io functions',
    ],
)
def test_console_filter__drops_what_is_long_or_concerns_nobody(text):
    assert not passes(text)
    assert passes(text, logging.ERROR)


def test_console_filter__keeps_the_rest():
    assert passes('Epoch(train) [1][43/43]  loss: 0.7')
    assert passes('Config file is old', logging.WARNING)


def test_without_false_alarms__drops_these_lines_only(capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with without_false_alarms():
            print('Could not import OneDL')
            print('one line')
            print('no end', end='')
            warnings.warn(
                'Fail to import ``MultiScaleDeformableAttention`` from x',
                stacklevel=1,
            )
            warnings.warn('another', stacklevel=1)
    assert capsys.readouterr().out == 'one line\nno end'
    assert [str(w.message) for w in caught] == ['another']


def test_without_false_alarms__leaves_loggers_on_the_console(monkeypatch):
    monkeypatch.setattr(
        MMLogger, '_instance_dict', type(MMLogger._instance_dict)()
    )
    with without_false_alarms():
        # As mmdet does when it is imported without compiled operators.
        MMLogger.get_current_instance().warning('Line NMS is not compiled')
    (handler,) = console_handlers(MMLogger.get_instance('mmengine'))
    assert handler.stream is sys.stdout


def test_is_full__by_a_variable(monkeypatch):
    assert not is_full()
    monkeypatch.setenv('MMCAE_CONSOLE', 'full')
    assert is_full()
