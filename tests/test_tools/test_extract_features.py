"""Feature extraction and nearest neighbours, as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_digits

TOOLS = Path(__file__).parents[2] / 'tools'
CONFIG = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'


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
            'extract_features.py', CONFIG, 'random', split,
            f'{split}.{ending}', *options, cwd=folders,
        )  # fmt: skip
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


def test_extract__mistakes_end_in_one_line(folders):
    result = run(
        'extract_features.py', CONFIG, 'nowhere.pth', 'train', 'x.npz',
        cwd=folders,
    )  # fmt: skip
    assert result.returncode == 1
    assert 'there is no checkpoint nowhere.pth' in result.stderr
    assert 'Traceback' not in result.stderr
    result = run(
        'extract_features.py', CONFIG, 'random', 'train', 'x.txt', cwd=folders
    )
    assert result.returncode == 2
    assert 'must end in .npz or .safetensors' in result.stderr
