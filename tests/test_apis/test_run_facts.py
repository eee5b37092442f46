# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a run writes about itself, and what its page shows of that."""

import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmcae.apis.report import describe_run, write_report
from mmcae.apis.run_facts import (
    NAME,
    data_facts,
    git_commits,
    read_facts,
    run_facts,
    tokenizer_facts,
    versions,
    write_facts,
)
from mmcae.apis.run_folder import read_run
from mmcae.zoo.loss_bands import packaged_bands

RECIPE = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'


class Images:
    """A dataset of names."""

    def __init__(self, names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def get_data_info(self, index):
        return dict(img_path=self.names[index])


def names(root, order=1):
    return [f'{root}/part{i % 3}/{i}.png' for i in range(9)][::order]


def test_data_facts__the_list_counts_and_not_its_folder():
    facts = data_facts(Images(names('/a/images')))
    assert facts['images'] == 9
    assert facts == data_facts(Images(names('/another/place')))
    assert facts != data_facts(Images(names('/a/images', -1)))
    assert facts != data_facts(Images(names('/a/images')[:-1]))
    assert data_facts([1, 2, 3]) == dict(images=3)


def test_data_facts__of_a_long_list_are_fast(monkeypatch):
    monkeypatch.setattr('mmcae.apis.run_facts._MOST_NAMES', 4)
    images = Images(names('/a'))
    facts = data_facts(images)
    images.names[0] = '/a/part0/other.png'
    assert data_facts(images) != facts  # every third name counts


def test_tokenizer_facts__follow_the_weights():
    model = torch.nn.Module()
    assert tokenizer_facts(model) == {}
    model.target_generator = torch.nn.Linear(2, 2)
    facts = tokenizer_facts(SimpleNamespace(module=model))
    assert facts['type'] == 'Linear'
    with torch.no_grad():
        model.target_generator.bias.add_(1)
    assert tokenizer_facts(model)['sha256'] != facts['sha256']


def test_git_commits__of_a_config_in_a_repository(tmp_path):
    def git(*command):
        names = ('-c', 'user.name=a', '-c', 'user.email=a@example.org')
        subprocess.run(['git', *names, *command], cwd=tmp_path, check=True)

    assert 'config' not in git_commits(tmp_path)
    git('init', '-q')
    (tmp_path / 'config.py').write_text('a = 1')
    git('add', '.')
    git('commit', '-q', '-m', 'one')
    commit = git_commits(tmp_path)['config']
    assert len(commit) == 12
    (tmp_path / 'config.py').write_text('a = 2')
    assert git_commits(tmp_path)['config'] == f'{commit} with changes'


@pytest.fixture
def started(tmp_path):
    """A work dir of the digits recipe, as a run leaves it."""
    band = next(b for b in packaged_bands() if b.recipe == RECIPE)
    start = tmp_path / '20260101_000000'
    (start / 'vis_data').mkdir(parents=True)
    limits = band.curves['loss'].values()
    records = [
        dict(step=step, lr=0.1, loss=float(np.mean(ends)), time=0.04)
        for step, *ends in zip(band.steps, *limits, strict=True)
    ]
    lines = '\n'.join(map(json.dumps, records))
    (start / 'vis_data' / 'scalars.json').write_text(lines)
    (start / 'vis_data' / 'config.py').write_text(
        f"_base_ = 'mmcae::cae/{RECIPE}.py'"
    )
    (start / '1.log').write_text('Unreadable files met in training: 2 of 9\n')
    dataset = Images([f'{i}.png' for i in range(band.settings['images'])])
    runner = SimpleNamespace(
        log_dir=start,
        cfg=SimpleNamespace(filename=f'{RECIPE}.py'),
        train_dataloader=SimpleNamespace(dataset=dataset),
        model=torch.nn.Module(),
    )
    runner.model.target_generator = torch.nn.Linear(2, 2)
    return runner


def test_report__shows_what_the_run_was_made_of(started, tmp_path):
    write_facts(started)
    run = read_run(tmp_path)
    rows = describe_run(run)
    facts = run_facts(started)
    assert facts == run.made_of
    assert facts['data']['list_sha256'][:12] in rows['training images']
    assert rows['training images'].startswith('1,400, SHA-256 of the list ')
    assert facts['tokenizer']['sha256'][:12] in rows['tokenizer weights']
    assert f'torch {versions()["torch"]}' in rows['versions']
    assert rows['config'] == f'{RECIPE}.py'
    assert rows['unreadable images'] == '2 of 9'
    page = write_report([tmp_path]).read_text()
    assert page.count('<polygon class="area"') == 1
    assert 'band of 3 trainings of this recipe' in page
    assert 'images per second' in page
    assert 'train_dataloader.batch_size' in page


def test_report__without_facts_and_with_damaged_ones(started, tmp_path):
    assert read_run(tmp_path).made_of == {}
    for text in ('{', '[]', '{"data": 3, "versions": ["a"]}'):
        (started.log_dir / NAME).write_text(text)
        rows = describe_run(read_run(tmp_path))
        assert 'training images' not in rows
        assert 'versions' not in rows
    assert read_facts(tmp_path) == {}
    write_report([tmp_path])


def test_report__of_several_runs_begins_with_the_differences(
    started, tmp_path
):
    page = write_report([tmp_path, tmp_path], tmp_path / 'p.html').read_text()
    assert page.index('Configs') < page.index('batch size')
