# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The list of what ``import mmcae`` changes in other packages."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmcae.integration import CHANGES, install

ROOT = Path(__file__).parents[2]
NAMES = [name for change in CHANGES for name in change.what]


def value_of(name):
    """The object of a dotted name; the longest module of it is imported."""
    parts = name.split('.')
    for length in range(len(parts), 0, -1):
        try:
            found = import_module('.'.join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


@pytest.mark.parametrize('change', CHANGES, ids=lambda c: c.apply.__name__)
def test_changes__say_all_about_themselves(change):
    assert (ROOT / change.test).is_file()
    assert change.why
    assert change.until
    for name in change.what:
        assert value_of(name) is not None


def test_changes__are_what_import_changes():
    """Compared with a process that has not imported mmcae."""
    lines = [
        'from importlib import import_module',
        'def value(name):',
        "    parts = name.split('.')",
        '    for n in range(len(parts), 0, -1):',
        '        try:',
        "            found = import_module('.'.join(parts[:n]))",
        '        except ImportError:',
        '            continue',
        '        for part in parts[n:]:',
        '            found = getattr(found, part)',
        '        return found',
        'def snapshot():',
        '    found = {}',
        f'    for name in {NAMES!r}:',
        '        v = value(name)',
        "        v = getattr(v, '__func__', v)",
        "        v = dict(v._schemes) if hasattr(v, '_schemes') else v",
        '        found[name] = dict(v) if isinstance(v, dict) else v',
        '    return found',
        'before = snapshot()',
        'import mmcae',
        'after = snapshot()',
        'print([n for n in before if before[n] == after[n]])',
    ]
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', '\n'.join(lines)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert result.stdout.strip().splitlines()[-1] == '[]'


def test_install__twice_changes_nothing():
    before = [value_of(name) for name in NAMES]
    install()
    assert [value_of(name) for name in NAMES] == before
