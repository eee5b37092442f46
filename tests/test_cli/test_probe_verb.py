# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`mmcae probe`: a table for an encoder and a folder of classes."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcae.apis.folder_features import FolderFeatures
from mmcae.cli.probe import config_beside, find_parts, probe_rows
from mmcae_command import main

CONFIG = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'


def test_config_beside__packaged_weights_have_the_name_of_their_config():
    found = config_beside(Path(f'mmcae://{CONFIG}'))
    assert found.stem == CONFIG


def features(numbers, labels, classes=('a', 'b')):
    numbers = np.asarray(numbers, dtype=np.float32)
    labels = np.asarray(labels)
    paths = [str(i) for i in range(len(labels))]
    return FolderFeatures(numbers, paths, labels, list(classes), [], 32)


def clusters(count, seed):
    """Two classes, 10 apart, in noise of 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    numbers = rng.normal(size=(count, 4)) + 10 * (2 * labels - 1)[:, None]
    return features(numbers, labels)


def test_rows__separable_classes_are_found():
    for found in ([clusters(40, 0)], [clusters(40, 0), clusters(20, 1)]):
        rows = probe_rows(found, k=5)
        assert len(rows['knn']) == (5 if len(found) == 1 else 1)
        assert set(rows['knn']) == {1.0}
        assert set(rows['linear']) == {1.0}
        assert set(rows['largest']) == {0.5}


def test_rows__noise_is_near_chance():
    rng = np.random.default_rng(0)
    noise = features(rng.normal(size=(200, 4)), np.arange(200) % 2)
    rows = probe_rows([noise], k=10)
    assert 0.3 < np.mean(rows['knn']) < 0.7
    assert 0.3 < np.mean(rows['linear']) < 0.7


def test_rows__need_the_same_classes():
    with pytest.raises(ValueError, match='only one has b, c'):
        probe_rows(
            [
                features(np.eye(4), [0, 1, 0, 1]),
                features(np.eye(4), [0, 1, 0, 1], ('a', 'c')),
            ],
            k=1,
        )
    with pytest.raises(ValueError, match='a subfolder for each class'):
        probe_rows([features(np.eye(2), [0, 0], ('a',))], k=1)
    with pytest.raises(ValueError, match='the 3 images cannot be split'):
        probe_rows([features(np.eye(3), [0, 0, 1])], k=1)


def test_parts__are_train_and_val_or_all(tmp_path):
    assert find_parts(tmp_path) == [tmp_path]
    for name in ('train', 'val'):
        (tmp_path / name).mkdir()
    assert find_parts(tmp_path) == [tmp_path / 'train', tmp_path / 'val']
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        find_parts(tmp_path / 'none')


def test_config__lies_beside_the_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no checkpoint'):
        config_beside(tmp_path / 'x.pth')
    (tmp_path / 'x.pth').write_bytes(b'')
    with pytest.raises(FileNotFoundError, match='has 0 configs; give --conf'):
        config_beside(tmp_path / 'x.pth')
    (tmp_path / 'run.py').write_text('')
    assert config_beside(tmp_path / 'x.pth') == tmp_path / 'run.py'


def test_probe__prints_one_table(tmp_path, capsys):
    import torch
    from mmengine.config import Config
    from mmpretrain import get_model

    from mmcae.utils import find_config

    for index in range(20):
        folder = tmp_path / 'photos' / f'class{index % 2}'
        folder.mkdir(parents=True, exist_ok=True)
        gray = np.full((16, 16), 60 + 120 * (index % 2) + index, np.uint8)
        Image.fromarray(gray).save(folder / f'{index}.png')
    config = Config.fromfile(find_config(CONFIG))
    config.model.target_generator.pop('init_cfg')
    model = get_model(config, pretrained=False)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'x.pth')
    arguments = [str(tmp_path / 'x.pth'), str(tmp_path / 'photos')]
    assert main(['probe', *arguments, '--config', CONFIG, '--k', '3']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '20 images, 2 classes'
    assert [line[:18].strip() for line in lines[1:5]] == [
        *('accuracy in %', 'this encoder', 'random encoder', 'largest class')
    ]
    assert re.search(r'100\.0 \[100\.0 to 100\.0\]', lines[2])
    assert '50.0' in lines[4]
    assert lines[5] == '(mean of 5 random splits [lowest to highest])'
