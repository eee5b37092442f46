# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Push, and load again, against a stand-in of the Hub on this machine."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch
from helpers.tiny_checkpoint import write_checkpoints
from helpers.trained import CLASSES, outputs_of, write_checkpoint
from mmengine.logging import MMLogger
from PIL import Image
from safetensors import safe_open

from mmcae.apis.loading import load_model
from mmcae.checkpoint.download import DownloadError
from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.hub_file import is_hub_address, parse_address
from mmcae.checkpoint.reading import read_checkpoint, sha256_of
from mmcae.cli.parser import run_command
from mmcae.hub import from_pretrained, push_to_hub, save_pretrained
from mmcae.hub.model_card import OWN_WEIGHTS

pytest.importorskip('huggingface_hub')
from helpers.hub_server import hub_server

REPO = 'some-one/tiny.cae'
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    # huggingface_hub waits for half a minute before it gives up.
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with hub_server(tmp_path, monkeypatch) as server:
        yield server


def pushed(tmp_path, kind='pretrain', **options):
    path, model = write_checkpoint(kind, tmp_path)
    push_to_hub(path, REPO, **options)
    return path, model


@pytest.mark.parametrize('kind', ['pretrain', 'finetune', 'linear'])
def test_round_trip__gives_the_same_outputs_bit_by_bit(kind, hub, tmp_path):
    path, model = pushed(tmp_path, kind, private=True)
    assert hub.private == {REPO: True}
    files = hub.repos[REPO]
    assert set(files) == {'README.md', 'config.json', 'model.safetensors'}
    loaded = from_pretrained(REPO)
    assert not loaded.training
    assert torch.equal(outputs_of(loaded, IMAGES), outputs_of(model, IMAGES))
    with safe_open(next(hub.cache.rglob('model.safetensors')), 'pt') as file:
        meta = file.metadata()
    assert meta['source_sha256'] == sha256_of(path)
    assert json.loads(meta['normalization'])['mean'] == [0.3] * 3
    if kind != 'pretrain':
        assert json.loads(meta['dataset_meta'])['classes'] == CLASSES


@pytest.mark.parametrize('address', [f'hf://{REPO}', f'hf:/{REPO}@main'])
def test_address__stands_for_a_checkpoint(address, hub, tmp_path):
    _, model = pushed(tmp_path)
    loaded = load_model(address, with_tokenizer=False).model.eval()
    assert torch.equal(outputs_of(loaded, IMAGES), outputs_of(model, IMAGES))
    digest = hashlib.sha256(hub.repos[REPO]['model.safetensors']).hexdigest()
    assert read_checkpoint(f'hf://{REPO}#sha256={digest}')['state_dict']
    with pytest.raises(DownloadError, match='but the pin is 0000'):
        read_checkpoint(f'hf://{REPO}#sha256={"0" * 64}')
    assert read_checkpoint(address)['state_dict']


def test_address__from_the_cache_without_a_network(hub, tmp_path, monkeypatch):
    pushed(tmp_path)
    read_checkpoint(f'hf://{REPO}')
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    assert read_checkpoint(f'hf://{REPO}')['state_dict']
    with pytest.raises(DownloadError, match='cannot be reached, and the'):
        read_checkpoint('hf://some-one/other')


def test_parse_address():
    assert parse_address('hf://a/b-1.c@v1/x') == ('a/b-1.c', 'v1/x', None)
    assert parse_address('a/b')[0] == 'a/b'
    assert not is_hub_address('a/b')
    for wrong in ('hf://a', 'hf://a/b/c', 'hf://a/../b', 'a b/c', 'hf://a/b@'):
        with pytest.raises(ValueError, match='address of the Hub'):
            parse_address(wrong)


def test_config__names_no_path_and_nothing_that_runs(hub, tmp_path):
    path = write_checkpoints(tmp_path)
    folder = save_pretrained(path, tmp_path / 'out')
    config = json.loads((folder / 'config.json').read_text())
    init = config['model']['target_generator'].pop('init_cfg')
    assert init['checkpoint'] == 'epoch_13.pth'
    assert 'init_cfg' not in str(config)
    texts = [f.read_bytes() for f in folder.iterdir()]
    assert not any(str(tmp_path).encode() in text for text in texts)
    config['model']['type'] = 'subprocess.Popen'
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(UnreadableCheckpointError, match=r'subprocess\.Popen'):
        from_pretrained(folder)


@pytest.mark.parametrize('content', ['', '[]', '{"model": 1}', '[' * 9999])
def test_config__damaged(content, hub, tmp_path):
    path, _ = write_checkpoint('pretrain', tmp_path)
    folder = save_pretrained(path, tmp_path / 'out')
    (folder / 'config.json').write_text(content)
    with pytest.raises(UnreadableCheckpointError, match='not the config'):
        from_pretrained(folder)


def test_card__says_what_is_known(hub, tmp_path):
    from huggingface_hub import ModelCard

    path, _ = pushed(
        tmp_path, 'finetune', data='12 | photographs', license='mit'
    )
    text = hub.repos[REPO]['README.md'].decode()
    data = ModelCard(text).data
    assert data.library_name == 'mmcae'
    assert data.pipeline_tag == 'image-classification'
    assert data.license == 'mit'
    assert '| data | 12 / photographs |' in text
    assert '`tiny_finetune`, 3 epochs' in text
    assert sha256_of(path) in text
    weights = hub.repos[REPO]['model.safetensors']
    assert hashlib.sha256(weights).hexdigest() in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize('kind', ['pretrain', 'linear'])
def test_card__its_example_runs(kind, hub, tmp_path, capsys):
    pushed(tmp_path, kind)
    text = hub.repos[REPO]['README.md'].decode()
    (code,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    found: dict = {}
    exec(code, found)
    result = found['features' if kind == 'pretrain' else 'logits']
    shape = re.search(r'# \((\d+), (\d+)\)', code)
    assert tuple(result.shape) == (int(shape[1]), int(shape[2]))


@pytest.mark.parametrize('name', ['cae_tiny-p8_1xb32-coslr-80e_digits-32px'])
def test_card__of_packaged_weights(name, hub, tmp_path):
    folder = save_pretrained(f'mmcae://{name}', tmp_path / 'out')
    text = (folder / 'README.md').read_text()
    assert f'| recipe | `{name}`' in text
    assert 'license: apache-2.0' in text
    assert 'sklearn.datasets.load_digits' in text
    assert OWN_WEIGHTS in text


def test_card__third_party_weights(hub, tmp_path):
    path = write_checkpoints(tmp_path)
    text = (save_pretrained(path, tmp_path / 'out') / 'README.md').read_text()
    assert OWN_WEIGHTS not in text
    assert '- epoch_13.pth does not record how it was trained' in text


def test_card__probes_of_the_run(hub, tmp_path):
    path = write_checkpoints(tmp_path)
    start = path.parent / '20261128_101500' / 'vis_data'
    start.mkdir(parents=True)
    records = [
        dict(step=10, epoch=40, lr=1, probe_knn=51.5),
        dict(step=20, epoch=80, lr=1, probe_knn=62.25, probe_linear=70.0),
        dict(step=30, epoch=90, lr=1, probe_knn=99.0),  # a later checkpoint's
    ]
    lines = '\n'.join(map(json.dumps, records))
    (start / 'scalars.json').write_text(lines)
    folder = save_pretrained(path, tmp_path / 'out')
    text = (folder / 'README.md').read_text()
    assert '| nearest neighbors, accuracy | 62.2 % | 20 |' in text
    assert '| linear probe, accuracy | 70.0 % | 20 |' in text
    assert '99.0' not in text


def test_faults__end_in_one_sentence(hub, tmp_path, monkeypatch, subtests):
    path, _ = pushed(tmp_path)
    with (
        subtests.test('repository'),
        pytest.raises(
            DownloadError, match='has no such repository, or it is private'
        ),
    ):
        from_pretrained('some-one/else')
    with (
        subtests.test('revision'),
        pytest.raises(DownloadError, match='it has no such revision'),
    ):
        from_pretrained(REPO, revision='v2')
    hub.repos['some-one/empty'] = {'config.json': b'{}'}
    with (
        subtests.test('file'),
        pytest.raises(
            DownloadError, match='no such file, so mmcae did not write'
        ),
    ):
        read_checkpoint('hf://some-one/empty')
    with (
        subtests.test('token'),
        pytest.raises(
            DownloadError, match='does not accept the token: log in'
        ),
    ):
        push_to_hub(path, REPO, token='hf_bad')
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    with (
        subtests.test('server'),
        pytest.raises(
            DownloadError, match=r'connection to http://127\.0\.0\.1:9 failed'
        ),
    ):
        push_to_hub(path, REPO)


def test_push__without_a_token(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.delenv('HF_TOKEN')
    monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path / 'none'))
    with pytest.raises(DownloadError, match='there is no access token'):
        push_to_hub('any.pth', REPO)


def test_push__an_interrupted_upload(hub, tmp_path):
    hub.cut = True
    with pytest.raises(DownloadError, match=r'connection to .* failed'):
        pushed(tmp_path)
    assert hub.repos == {REPO: {}}  # no commit, so no half a model
    hub.cut = False
    push_to_hub(tmp_path / 'pretrain.pth', REPO)
    assert len(hub.repos[REPO]) == 3


@pytest.mark.parametrize('name', ['config.json', 'model.safetensors'])
def test_load__a_file_that_was_changed_on_the_way(name, hub, tmp_path):
    pushed(tmp_path)
    hub.tampered = {name}
    with pytest.raises(DownloadError, match='not the right file: its hash is'):
        from_pretrained(REPO)
    hub.tampered = set()
    from_pretrained(REPO)  # the wrong file was not kept
    cached = next(hub.cache.rglob(name)).resolve()
    cached.write_bytes(cached.read_bytes()[:-1] + b'?')
    with pytest.raises(DownloadError, match='was removed from the cache'):
        from_pretrained(REPO)


def test_load__weights_of_another_push(hub, tmp_path):
    path, _ = write_checkpoint('pretrain', tmp_path)
    folder = save_pretrained(path, tmp_path / 'out')
    second, _ = write_checkpoint('linear', tmp_path)
    other = save_pretrained(second, tmp_path / 'other')
    (folder / 'model.safetensors').write_bytes(
        (other / 'model.safetensors').read_bytes()
    )
    with pytest.raises(UnreadableCheckpointError, match='is not the file'):
        from_pretrained(folder)


def test_command(hub, tmp_path, capsys):
    path, _ = write_checkpoint('pretrain', tmp_path)
    dry = tmp_path / 'dry'
    assert run_command(['push', str(path), REPO, '--dry-run', str(dry)]) == 0
    assert hub.repos == {}
    assert sorted(f.name for f in dry.iterdir()) == [
        'README.md',
        'config.json',
        'model.safetensors',
    ]
    assert run_command(['push', str(path), REPO, '--license', 'mit']) == 0
    assert f'pushed to {hub.url}/{REPO}' in capsys.readouterr().out
    assert hub.private == {REPO: False}
    with pytest.raises(SystemExit) as caught:
        run_command(['push', str(path), 'no-owner'])
    assert caught.value.code == 2
    assert 'write hf://OWNER/NAME' in capsys.readouterr().err


def test_probe__finds_the_config_in_the_weights(hub, tmp_path, capsys):
    pushed(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(20):
        path = tmp_path / 'images' / f'class{i % 2}' / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (32, 32, 3)) + 127 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    folder = str(tmp_path / 'images')
    MMLogger._instance_dict.clear()  # the push has logged
    capsys.readouterr()
    words = ['probe', f'hf://{REPO}', folder, '--no-attentive', '--json']
    assert run_command(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['images'] == 20
    assert found['rows']['this encoder']['knn'] == [1.0] * 5
