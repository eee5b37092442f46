# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The quick faults of `reliability.py` survive, and a broken promise shows."""

import sys

import reliability
from faults import disk
from faults.runs import Row


def run(monkeypatch, tmp_path, *options: str) -> int:
    words = ['reliability.py', '--out', str(tmp_path), *options]
    monkeypatch.setattr(sys, 'argv', words)
    return reliability.main()


def test_main__counts_what_survives(monkeypatch, tmp_path, capsys):
    names = ('damage', 'disk', 'restart')
    assert run(monkeypatch, tmp_path, '--only', *names) == 0
    printed = capsys.readouterr().out
    for counts in ('77 | 77', '3 | 3', '6 | 6', '4 | 4'):
        assert f' | {counts} | ' in printed
    assert (tmp_path / 'reliability.md').read_text() in printed + '\n'


def test_main__a_broken_promise_is_counted(monkeypatch, tmp_path, capsys):
    # a run that takes the newest file, damaged or not
    monkeypatch.setattr(
        disk,
        'choose_checkpoint',
        lambda folder, warn: disk.checkpoints_in(folder)[0],
    )
    assert run(monkeypatch, tmp_path, '--only', 'damage') == 1
    assert ' | 77 | 5 | ' in capsys.readouterr().out


def test_write_docs__replaces_the_table_only(monkeypatch, tmp_path):
    page = tmp_path / 'page.md'
    start, end = reliability.MARKS
    page.write_text(f'before\n{start}\nformer table\n{end}\nafter\n')
    monkeypatch.setattr(reliability, 'DOCS', page)
    reliability.write_docs(reliability.table([Row('it holds', 2, 2, 'n')]))
    text = page.read_text()
    assert text.startswith(f'before\n{start}\n| promise |')
    assert '| it holds | 2 | 2 | n |' in text
    assert 'former' not in text
    assert text.endswith(f'{end}\nafter\n')
