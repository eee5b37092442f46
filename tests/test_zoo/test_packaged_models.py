# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The models whose weights travel in the package work at once."""

import json
import socket
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
import weights_numbers
from helpers.scripts import load_script
from mmengine.config import Config
from mmpretrain import get_model, inference_model, list_models
from mmpretrain.apis.model import ModelHub
from PIL import Image
from sklearn.datasets import load_digits

import mmcae
from mmcae.apis import reconstruct, reconstruct_batch
from mmcae.checkpoint.digest import weights_digest
from mmcae.checkpoint.packaged import FOLDER, packaged_file, packaged_weights
from mmcae.checkpoint.reading import read_checkpoint, sha256_of
from mmcae.config.search_path import find_config
from mmcae.utils import load_config

README = Path(mmcae.__file__).resolve().parent.parent / 'README.md'
RECORDS = packaged_weights()
CAES = [name for name in RECORDS if name.startswith('cae_')]
DIGITS = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
EMOJI = 'cae_tiny-p8_1xb32-coslr-30e_emoji-48px'
TOKENIZER = 'dvae_f8-k64_1xb32-13e_digits-32px'
CLASSIFIER = 'tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px'
# Of all files; a wheel holds them compressed (test_wheel.py).
MAX_BYTES = 3_400_000


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network, and a folder without ``work_dirs``."""

    def refuse(*args, **kwargs):
        raise AssertionError('the network is used')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """The digits as ``train`` and ``test``, one folder for each class."""
    folder = tmp_path_factory.mktemp('digits')
    script = load_script('tools/dataset_converters/digits.py')
    script.write_digits(folder, class_folders=True)
    return folder


def digit(index: int) -> np.ndarray:
    """A digit as an image of 8 x 8 pixels, BGR."""
    pixels = np.round(load_digits().images[index] * (255 / 16))
    return np.stack([pixels.astype(np.uint8)] * 3, axis=-1)


def test_files__are_those_of_the_manifest():
    files = {path.name for path in FOLDER.glob('*.safetensors')}
    assert files == {record['file'] for record in RECORDS.values()}
    assert set(RECORDS) >= {DIGITS, EMOJI, TOKENIZER, CLASSIFIER}
    for record in RECORDS.values():
        path = FOLDER / record['file']
        assert sha256_of(path) == record['sha256'], path.name
        assert path.stat().st_size == record['bytes'], path.name
    assert sum(r['bytes'] for r in RECORDS.values()) < MAX_BYTES


def test_files__say_what_they_are_and_what_they_were_trained_on(subtests):
    for name, record in RECORDS.items():
        with subtests.test(name):
            meta = read_checkpoint(f'mmcae://{name}')['meta']
            assert find_config(name).as_posix().endswith(record['recipe'])
            for key in ('licenses', 'numbers'):
                assert json.loads(meta[key]) == record[key]
            for key in ('recipe', 'data', 'command', 'license', 'dtype'):
                assert meta[key] == record[key]
            assert any(
                'CC BY 4.0' in text or 'Attribution 4.0' in text
                for text in record['licenses']
            )
            assert 'work' not in meta['source']


def test_zoo__knows_the_weights():
    for name in RECORDS:
        assert list_models(name) == [name]
        assert ModelHub.get(name).weights == f'mmcae://{name}'


def test_zoo__every_entry_with_weights_has_them():
    list_models()
    named = [
        entry.data['Weights']
        for entry in ModelHub._models_dict.values()
        if str(entry.data.get('Weights')).startswith('mmcae:')
    ]
    assert sorted(named) == sorted(f'mmcae://{name}' for name in RECORDS)


def test_get_model__gives_the_recorded_outputs(subtests):
    for name, record in RECORDS.items():
        with subtests.test(name):
            model = get_model(name, pretrained=True)
            side = int(name.rpartition('-')[2].removesuffix('px'))
            output = weights_numbers.example_output(model, side)
            wanted = np.array(record['example'])
            error = np.abs(output - wanted).max() / np.abs(wanted).max()
            assert error < 1e-5


@pytest.mark.parametrize('name', CAES)
def test_get_model__loads_the_tokenizer_of_a_cae(name):
    model = get_model(name, pretrained=True)
    tokenizer = RECORDS[name]['tokenizer'].removeprefix('mmcae://')
    info = model.target_generator.weights_info
    assert info['sha256'] == RECORDS[tokenizer]['sha256']
    # These are the tokens that the CAE was trained to predict.
    recorded = read_checkpoint(f'mmcae://{name}')['meta']['tokenizer']
    assert recorded['sha256'] == info['sha256']
    assert recorded['weights'] == weights_digest(model.target_generator)


def test_get_model__other_weights_keep_the_tokenizer_of_the_config():
    path = str(packaged_file(f'mmcae://{DIGITS}'))
    for model in (get_model(DIGITS), get_model(DIGITS, pretrained=path)):
        tokenizer = model.target_generator
        assert tokenizer.weights_info is None
        assert tokenizer.init_cfg['checkpoint'].startswith('work_dirs/')


def test_inference_model__reads_digits():
    # These are in the test split.
    for index in (1, 3, 4, 6, 7, 9):
        result = inference_model(CLASSIFIER, digit(index))
        assert result['pred_class'] == str(load_digits().target[index])


def test_reconstruct__works_without_a_path():
    model = get_model(DIGITS, pretrained=True)
    images = torch.from_numpy(np.stack([digit(i) for i in range(8)]))
    images = images.permute(0, 3, 1, 2).float()
    images = torch.nn.functional.interpolate(images, 32, mode='bicubic')
    mask = torch.zeros(8, 16, dtype=torch.bool)
    mask[:, 4:12] = True
    pixels = (images / 255).clamp(0, 1)
    result = reconstruct_batch(model, (pixels - 0.3) / 0.35, pixels, mask)
    assert result.accuracy > 0.3
    assert result.picture.shape == (8, 3, 32, 32)


@pytest.mark.parametrize('name', [DIGITS, f'mmcae://{DIGITS}'])
def test_reconstruct__takes_the_name_alone(name, tmp_path):
    image = Image.fromarray(digit(3)).resize((32, 32))
    result = reconstruct(name, image)
    assert result.notes == ()
    assert result.picture.shape == (32, 32, 3)


@pytest.mark.skipif(not README.is_file(), reason='needs the repository')
def test_readme__its_first_lines_work_in_any_folder(tmp_path):
    code = README.read_text().partition('```python\n')[2].partition('```')[0]
    assert 'reconstruct(' in code
    printed: list[str] = []
    exec(code, {'print': printed.append})
    assert printed == ['3']
    with Image.open(tmp_path / 'prediction.png') as picture:
        assert picture.width > picture.height > 60


def test_encoder__digits_are_told_apart_by_nearest_neighbors(digits):
    """Random encoders reach 50 % (docs/evaluate.md)."""
    numbers = weights_numbers.measure_cae(
        find_config(DIGITS),
        f'mmcae://{DIGITS}',
        f'mmcae://{TOKENIZER}',
        digits / 'train',
        digits / 'test',
    )
    recorded = RECORDS[DIGITS]['numbers']
    assert recorded['knn'] > 93
    for key, value in recorded.items():
        assert numbers[key] == pytest.approx(value, abs=0.6), key


def test_classifier__reaches_the_recorded_accuracy(digits):
    numbers = weights_numbers.measure_classifier(
        find_config(CLASSIFIER), f'mmcae://{CLASSIFIER}', digits / 'test'
    )
    recorded = RECORDS[CLASSIFIER]['numbers']['accuracy']
    assert recorded > 98
    assert numbers['accuracy'] == pytest.approx(recorded, abs=0.3)


@pytest.mark.parametrize(
    ('config', 'option', 'address'),
    [
        (DIGITS, 'tokenizer', TOKENIZER),
        (CLASSIFIER, 'checkpoint', DIGITS),
        (CLASSIFIER.replace('coslr', 'linear-coslr'), 'checkpoint', DIGITS),
        ('tiny-p8_cae-pre_1xb64-coslr-15e_emoji-48px', 'checkpoint', EMOJI),
    ],
)
def test_configs__start_from_packaged_weights(config, option, address):
    cfg = load_config(config, {option: f'mmcae://{address}'})
    part = (
        cfg.model.target_generator
        if option == 'tokenizer'
        else (cfg.model.backbone)
    )
    assert part.init_cfg.checkpoint == f'mmcae://{address}'
    model = get_model(Config(cfg.to_dict()))
    model.init_weights()
    if option == 'checkpoint':
        wanted = read_checkpoint(f'mmcae://{address}')['state_dict']
        weight = model.backbone.layers[0].attn.qkv.weight
        stored = wanted['backbone.layers.0.attn.qkv.weight']
        assert torch.equal(weight, stored.float())
    else:
        info = model.target_generator.weights_info
        assert info['sha256'] == RECORDS[address]['sha256']


def test_mmpretrain__keeps_its_own_weights():
    name = 'resnet18_8xb32_in1k'
    assert ModelHub.get(name).weights.startswith('https://')
    assert mmpretrain.list_models(name) == [name]
