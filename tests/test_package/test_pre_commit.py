# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The checks before a commit name files that exist."""

from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]


def test_hooks__run_files_that_exist():
    text = (REPO / '.pre-commit-config.yaml').read_text()
    entries = [
        hook['entry']
        for repo in yaml.safe_load(text)['repos']
        for hook in repo['hooks']
    ]
    named = [
        word
        for entry in entries
        for word in entry.split()
        if word.endswith('.py')
    ]
    assert len(named) >= 2
    assert [name for name in named if not (REPO / name).is_file()] == []
