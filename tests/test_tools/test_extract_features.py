# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run feature extraction and nearest neighbors as users do."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import toy_project
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_digits

TOOLS = Path(__file__).parents[2] / 'tools'
CONFIG = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'


@pytest.fixture
def run_here(monkeypatch, capfd):
    """Run a tool inside this process, because imports take seconds."""

    def run_tool(tool, *args, cwd):
        status = toy_project.run_script(TOOLS / tool, args, cwd, monkeypatch)
        return subprocess.CompletedProcess(tool, status, *capfd.readouterr())

    return run_tool


def run(tool, *args, cwd):
    return subprocess.run(
        [sys.executable, TOOLS / tool, *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('digits')
    digits = load_digits()
    for number in range(240):
        split = 'train' if number < 200 else 'test'
        folder = root / split / f'class{digits.target[number]}'
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] * 15).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    return root


def test_extract_and_knn__from_a_folder_to_an_accuracy(folders):
    options = ['--crop-ratio', 1, '--num-workers', 0]
    for split, ending in (('train', 'npz'), ('test', 'safetensors')):
        result = run(
            'extract_features.py',
            CONFIG,
            'random',
            split,
            f'{split}.{ending}',
            *options,
            cwd=folders,
        )
        assert result.returncode == 0, result.stderr
        assert '64 numbers each (mean, 32 px, last block)' in result.stdout
    with np.load(folders / 'train.npz') as file:
        assert file['features'].shape == (200, 64)
        names = file['classes'][file['labels']]
        folder_names = [path.split('/')[0] for path in file['paths']]
        assert list(names) == folder_names
    with safe_open(folders / 'test.safetensors', 'np') as file:
        assert file.get_tensor('features').shape == (40, 64)
    result = run(
        'knn.py', 'train.npz', 'test.safetensors', '--k', 1, 5, cwd=folders
    )
    assert result.returncode == 0, result.stderr
    shares = re.findall(
        r'(\d+)-NN, temperature 0\.07: ([\d.]+) %', result.stdout
    )
    assert [k for k, _ in shares] == ['1', '5']
    assert all(float(share) > 30 for _, share in shares)  # chance is 10 %


def test_extract__mistakes_give_a_one_line_message(folders, run_here):
    result = run_here(
        'extract_features.py',
        CONFIG,
        'nowhere.pth',
        'train',
        'x.npz',
        cwd=folders,
    )
    assert result.returncode == 2
    assert 'there is no checkpoint nowhere.pth' in result.stderr
    assert 'Traceback' not in result.stderr
    result = run_here(
        'extract_features.py', CONFIG, 'random', 'train', 'x.txt', cwd=folders
    )
    assert result.returncode == 2
    assert 'must end in .npz or .safetensors' in result.stderr


@pytest.fixture
def broken(tmp_path):
    """Write ten images of one color each, and damage two of them."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number in range(10):
        pixels = np.full((8, 8), number, np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    (folder / '3.png').write_bytes(b'no image')
    (folder / '7.png').write_bytes((folder / '7.png').read_bytes()[:40])
    return tmp_path


@pytest.mark.parametrize('workers', [0, 2])
def test_extract__leaves_unreadable_images_out(broken, workers, run_here):
    result = run_here(
        'extract_features.py',
        CONFIG,
        'random',
        'photos',
        'x.npz',
        '--num-workers',
        workers,
        '--batch-size',
        1,
        cwd=broken,
    )
    assert result.returncode == 0, result.stderr
    assert 'Unreadable images: 2 of 10' in result.stdout
    assert result.stdout.count('left out: ') == 2
    assert result.stdout.count('photos/3.png (') == 1
    assert '10/10' in result.stderr  # the progress bar
    with np.load(broken / 'x.npz') as file:
        assert file['features'].shape == (8, 64)
        kept = [0, 1, 2, 4, 5, 6, 8, 9]
        assert list(file['paths']) == [f'{n}.png' for n in kept]
    # Without labels, there is nothing to classify by neighbors.
    result = run_here('knn.py', 'x.npz', 'x.npz', cwd=broken)
    assert result.returncode == 2
    assert result.stderr.startswith('error: x.npz has no labels: ')
    assert len(result.stderr.strip().splitlines()) == 1


def test_extract__too_many_unreadable_images_stop_it(broken, run_here):
    result = run_here(
        'extract_features.py',
        CONFIG,
        'random',
        'photos',
        'x.npz',
        '--num-workers',
        0,
        '--max-unreadable',
        0,
        cwd=broken,
    )
    assert result.returncode == 2
    assert 'too many unreadable images: more than 0 of 10' in result.stderr
    assert 'Traceback' not in result.stderr
    assert not (broken / 'x.npz').exists()
