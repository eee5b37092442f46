# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`mmcae probe`: a table for an encoder and a folder of classes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcae.apis.folder_features import FolderFeatures
from mmcae.apis.folder_probe import probe_rows
from mmcae.cli.probe import config_beside, find_parts
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


def test_rows__the_attentive_probe_finds_one_patch(monkeypatch):
    """The class is in one of nine tokens; their mean hides it."""
    monkeypatch.setattr('mmcae.apis.folder_probe.SPLITS', 2)
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    tokens = rng.normal(size=(60, 9, 32)).astype(np.float16)
    tokens[np.arange(60), rng.integers(1, 9, 60), 0] = 20 * labels - 10
    found = features(tokens[:, 1:].mean(1), labels)
    rows = probe_rows([found], k=5, tokens=tokens)
    assert len(rows['attentive']) == 2
    assert np.mean(rows['attentive']) > 0.85


def test_attentive__the_rate_is_chosen_without_the_test_images(monkeypatch):
    from mmcae.evaluation import attentive

    seen = []

    def spy(heads, tokens, labels, index, device):
        seen.append(set(index.tolist()))
        return [float(rate == 0.3) for rate in range(len(heads))]

    monkeypatch.setattr(attentive, 'accuracies', spy)
    monkeypatch.setattr(
        attentive, 'train_heads', lambda make, rates, *_: rates
    )
    train, test = np.arange(40), np.arange(40, 50)
    attentive.swept_attentive_accuracy(
        lambda: None, np.zeros((50, 2, 4)), np.zeros(50, int), train, test
    )
    chosen_on, tested_on = seen
    assert len(chosen_on) == 10
    assert not chosen_on & set(test.tolist())
    assert tested_on == set(test.tolist())


def test_tokens__that_would_fill_the_disk_are_left_out(tmp_path, monkeypatch):
    import torch

    from mmcae.evaluation import token_file

    tokens = torch.ones(2, 5, 8)
    kept = token_file.TokenFile(tmp_path / 'a')
    kept.expect(2, tokens)
    kept.append(tokens)
    kept.append(2 * tokens)
    assert kept.array().shape == (4, 5, 8)
    assert kept.array()[3, 0, 0] == 2
    monkeypatch.setattr(token_file, 'DISK_SHARE', 1e-30)
    left = token_file.TokenFile(tmp_path / 'b')
    left.expect(2, tokens)
    left.append(tokens)
    assert left.array() is None
    assert 'GB of disk' in left.note
    assert not (tmp_path / 'b').exists()


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


def test_probe__prints_one_table(tmp_path, capsys, monkeypatch):
    import torch
    from mmengine.config import Config
    from mmpretrain import get_model

    from mmcae.utils import find_config

    monkeypatch.setattr('mmcae.evaluation.attentive.STEPS', (3, 3))
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
    command = ['probe', *arguments, '--config', CONFIG, '--k', '3']
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '20 images, 2 classes'
    assert lines[1].split() == [
        *('accuracy', 'in', '%', '3-NN', 'linear', 'attentive')
    ]
    assert [line[:18].strip() for line in lines[1:5]] == [
        *('accuracy in %', 'this encoder', 'random encoder', 'largest class')
    ]
    assert lines[2].count('[') == 3
    assert re.search(r'100\.0 \[100\.0 to 100\.0\]', lines[2])
    assert '50.0' in lines[4]
    assert lines[5] == '(mean of 5 random splits [lowest to highest])'

    assert main([*command, '--json', '--no-attentive']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['images'] == 20
    assert found['note'] == '--no-attentive'
    row = found['rows']['random encoder']
    assert sorted(row) == ['knn', 'largest', 'linear']
    assert len(row['knn']) == 5
