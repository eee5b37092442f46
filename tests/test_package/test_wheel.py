# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A wheel, built from the source distribution, used far from the tree."""

import importlib.util
import json
import os
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mmcae

ROOT = Path(mmcae.__file__).resolve().parent.parent
NAME = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'
TINY = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
# What the weights of small models may add to the wheel, in bytes.
MAX_WEIGHTS = 3_000_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / 'setup.py').is_file(), reason='needs the repository'
    ),
]

CHECK = f"""
import os, sys, torch
import mmcae, mmpretrain
from mmengine.config import Config
from mmengine.utils import get_installed_path

site = sys.argv[1]
assert mmcae.__file__.startswith(site), mmcae.__file__
assert {NAME!r} in mmpretrain.list_models()
with torch.device('meta'):
    model = mmpretrain.get_model({NAME!r})
assert type(model).__module__.startswith('mmcae.models'), type(model)
assert model._config.filename.startswith(site), model._config.filename
assert get_installed_path('mmcae') == os.path.join(site, 'mmcae')

open('child.py', 'w').write("_base_ = 'mmcae::cae/{NAME}.py'")
assert Config.fromfile('child.py').model.type == 'mmcae.CAE'

from mmcae.utils import find_config, load_config
assert str(find_config({NAME!r})).startswith(site)
load_config({NAME!r}, {{'data_root': '/images'}})

model = mmpretrain.get_model({TINY!r}, pretrained=True)
assert model.target_generator.weights_info is not None
print('all good')
"""
# mim, and those of its imports that mmcae's own dependencies do not bring.
MIM = [
    'openmim==0.3.9',
    'tabulate',
    'colorama',
    'pandas',
    'requests',
    'urllib3',
    'idna',
    'certifi',
    'charset-normalizer',
]


def run(command: list, cwd: Path, **extra: str) -> str:
    variables = dict(os.environ, OMP_NUM_THREADS='1', **extra)
    variables.pop('PYTHONPATH', None)
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-3000:]
    return output


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Tree -> source distribution -> wheel."""
    folder = tmp_path_factory.mktemp('build')
    ignored = shutil.ignore_patterns(
        '.git',
        '.venv',
        '.*_cache',
        '__pycache__',
        'work_dirs',
        'data',
        '*.egg-info',
        'build',
        'dist',
        '.mim',
    )
    shutil.copytree(ROOT, folder / 'tree', ignore=ignored, symlinks=True)
    run(
        [sys.executable, 'setup.py', '-q', 'sdist', '-d', folder],
        folder / 'tree',
    )
    (archive,) = folder.glob('*.tar.gz')
    with tarfile.open(archive) as file:
        file.extractall(folder / 'unpacked', filter='data')
    (source,) = (folder / 'unpacked').iterdir()
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps']
    if importlib.util.find_spec('wheel'):
        command += ['--no-build-isolation']
    run([*command, '-w', folder / 'wheels', source], folder)
    (path,) = (folder / 'wheels').glob('*.whl')
    return path


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
    """An environment with mmcae from the wheel, the rest borrowed."""
    folder = tmp_path_factory.mktemp('fresh')
    run([sys.executable, '-m', 'venv', '--without-pip', 'env'], folder)
    (packages,) = (folder / 'env' / 'lib').glob('python*/site-packages')
    # Folders named in a .pth file are searched, their own .pth files (an
    # editable mmcae) are not read.
    (packages / 'borrowed.pth').write_text('\n'.join(site.getsitepackages()))
    run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '-q',
            '--no-deps',
            '--no-index',
            '--target',
            packages,
            wheel,
        ],
        folder,
    )
    return folder, packages


def test_wheel__holds_configs_tools_and_index(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    expected = [
        path.relative_to(ROOT)
        for folder in ('configs', 'tools')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.yml', '.sh')
    ]
    assert len(expected) > 10
    missing = [p for p in expected if f'mmcae/.mim/{p}' not in names]
    assert not missing
    assert 'mmcae/.mim/model-index.yml' in names
    assert 'mmcae/py.typed' in names
    assert not [name for name in names if name.startswith('tests')]


def test_wheel__holds_the_packaged_weights(wheel):
    folder = 'mmcae/zoo/weights/'
    files = {
        info.filename.removeprefix(folder): info
        for info in zipfile.ZipFile(wheel).infolist()
        if info.filename.startswith(folder)
    }
    manifest = json.loads((ROOT / folder / 'weights.json').read_text())
    packaged = {record['file'] for record in manifest.values()}
    assert set(files) == {*packaged, 'weights.json', 'README.md'}
    size = sum(info.compress_size for info in files.values())
    assert size < MAX_WEIGHTS


def test_wheel__holds_the_loss_bands(wheel):
    folder = 'mmcae/zoo/bands'
    names = zipfile.ZipFile(wheel).namelist()
    bands = {path.name for path in (ROOT / folder).glob('*.json')}
    assert bands
    assert bands == {
        name.removeprefix(f'{folder}/')
        for name in names
        if name.startswith(f'{folder}/')
    }


def test_wheel__works_away_from_the_repository(environment, tmp_path):
    folder, packages = environment
    output = run([folder / 'env/bin/python', '-c', CHECK, packages], tmp_path)
    assert 'all good' in output


def test_wheel__trains_through_the_packaged_tools(environment, tmp_path):
    from helpers import toy_project

    folder, packages = environment
    toy_project.write(tmp_path)
    tools = packages / 'mmcae' / '.mim' / 'tools'
    python = folder / 'env' / 'bin' / 'python'
    result = subprocess.run(
        [tools / 'dist_train.sh', 'toy.py', '1', '--work-dir', 'out'],
        cwd=tmp_path,
        env=dict(os.environ, PYTHON=str(python), PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / 'out' / 'epoch_2.pth').is_file()
    help_text = run([python, tools / 'train.py', '--help'], tmp_path)
    assert '--resume' in help_text


def test_wheel__pretrains_on_a_folder_by_the_console_script(
    environment, tmp_path
):
    """60 small images and one command, then another with its result."""
    import numpy as np
    from PIL import Image

    folder, packages = environment
    images = tmp_path / 'images'
    images.mkdir()
    rng = np.random.default_rng(0)
    for index in range(60):
        pixels = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((32, 32), Image.BICUBIC)
        picture.save(images / f'{index}.png')
    (script,) = packages.rglob('bin/mmcae')
    python = folder / 'env' / 'bin' / 'python'
    # `pip install --target` puts scripts elsewhere than into the venv.
    help_text = run([python, script, '--help'], tmp_path)
    assert 'pretrain on a folder of images' in help_text
    command = [python, script, 'pretrain', images, '--time', '15s']
    output = run([*command, '--out', 'run'], tmp_path)
    assert 'images     60 (PNG)' in output
    assert 'Done in' in output
    (checkpoint,) = (tmp_path / 'run' / 'cae').glob('epoch_*.pth')
    words = ['extract', 'run/cae.py', checkpoint, images, 'x.npz']
    output = run([python, script, *words, '--num-workers', '0'], tmp_path)
    assert '60 images, 96 numbers each' in output


def test_wheel__mim_finds_config_and_tool(environment, tmp_path):
    """``mim train mmcae NAME.py`` looks like this for its files.

    The package's folder is searched for the file name alone, which must be
    there once; the script is ``.mim/tools/train.py``.
    """
    _, packages = environment
    package = packages / 'mmcae'
    configs = package / '.mim' / 'configs'
    names = [
        path.name
        for path in configs.rglob('*.py')
        if '_base_' not in path.relative_to(configs).parts
    ]
    assert names
    for name in names:
        assert len(list(package.rglob(name))) == 1, name
    assert (package / '.mim' / 'tools' / 'train.py').is_file()
    # Without its dependencies, which would replace half of the environment.
    install = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps']
    install += ['--target', str(packages), *MIM]
    if subprocess.run(install, cwd=tmp_path).returncode:
        pytest.skip('mim cannot be had: only its rule was checked')
    folder, _ = environment
    command = [folder / 'env/bin/python', '-m', 'mim', 'train', 'mmcae']
    command += [f'{NAME}.py', '--gpus', '0', '--cfg-options', 'modle.x=1']
    result = subprocess.run(
        [str(part) for part in command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    # The config and the tool were found, and the tool read the config.
    assert f'Training command is {command[0]} {package}' in result.stdout
    assert "error: there is no 'modle'" in result.stderr
