# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The benchmark of windows runs at the smallest size."""

import json
import sys

from speed_tools import TOOLS  # noqa: F401  (makes the tools importable)

import windows  # isort: skip


def test_windows__save_bytes_unless_the_kernel_is_fused(
    tmp_path, monkeypatch, capsys
):
    argv = ['windows.py', '--arch', 'tiny', '--size', '256', '250']
    argv += ['--window', '4', '--rounds', '1', '--encoder']
    monkeypatch.setattr(sys, 'argv', [*argv, '--out', str(tmp_path)])
    windows.main()
    assert (tmp_path / 'windows.md').read_text() in capsys.readouterr().out
    rows = json.loads((tmp_path / 'windows.json').read_text())['rows']
    *blocks, encoder = rows
    saved = {}
    for row in blocks:
        everywhere, inside = (
            row['found']['everywhere'],
            row['found']['windows'],
        )
        assert everywhere['peak'] > everywhere['kept'] > 0
        setting = row['attention'], row['rel_pos']
        saved[setting] = 1 - inside['kept'] / everywhere['kept']
    # The fused kernel keeps no scores, unless a bias is added to them.
    assert abs(saved['fused', False]) < 0.1
    for setting in ('fused', True), ('explicit', False), ('explicit', True):
        assert saved[setting] > 0.3
    # Plain products keep more: the scores of 16 x 16 patches and the class
    # token, for 2 heads in float32.
    scores = 2 * 257 * 257 * 4
    everywhere = blocks[2]['found']['everywhere']
    assert blocks[2]['attention'] == 'explicit'
    plain = blocks[0]['found']['everywhere']
    assert everywhere['kept'] - plain['kept'] > 0.9 * scores
    assert encoder['what'] == 'encoder'
    names = ['everywhere', 'windows but in four', 'windows']
    assert list(encoder['found']) == names
    assert all(cell['peak'] > 0 for cell in encoder['found'].values())
