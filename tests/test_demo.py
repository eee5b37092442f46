# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The demo's scripts, with a pretraining too short to learn anything."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / 'demo'


@pytest.mark.slow
def test_run_demo__writes_a_self_contained_page(tmp_path):
    command = [sys.executable, DEMO / 'run_demo.py', '--seeds', '0']
    command += ['--work-dir', tmp_path, '--no-check']
    options = ['train_cfg.max_epochs=1', 'default_hooks.checkpoint.interval=1']
    result = subprocess.run(
        [*map(str, command), '--cfg-options', *options],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert str(tmp_path / 'report.html') in result.stdout
    page = (tmp_path / 'report.html').read_text(encoding='utf-8')
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert len(sources) == 3
    assert all(source.startswith('data:image/png') for source in sources)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert set(results['probes']) == {
        'raw pixels',
        'random encoder',
        'pretrained encoder',
    }
    for by_count in results['probes'].values():
        assert set(by_count) == {'100', '1400'}
        for (scores,) in by_count.values():
            assert 0.1 < scores['logistic'] <= 1
            assert 0.1 < scores['knn'] <= 1
    raw = results['probes']['raw pixels']['1400'][0]['logistic']
    assert raw > 0.95
    assert f'{100 * raw:.1f}' in page


@pytest.mark.slow
def test_run_demo__shows_why_a_run_failed(tmp_path):
    command = [sys.executable, DEMO / 'run_demo.py', '--seeds', '0']
    command += ['--work-dir', tmp_path, '--cfg-options', 'no.such.key=1']
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert 'no.such.key' in result.stderr
    assert 'tools/train.py' in result.stderr
