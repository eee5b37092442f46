# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``mmcae://NAME`` finds weights of the package, and checks their file."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

import mmcae  # noqa: F401
from mmcae.checkpoint import packaged
from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.packaged import (
    is_packaged,
    local_file,
    packaged_file,
    packaged_weights,
)
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights
from mmcae.models import DVAE

NAME = 'dvae_tiny'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package whose only weights are those of a small tokenizer."""
    torch.manual_seed(0)
    state = DVAE(vocab_size=4, hidden_channels=(2, 2, 2)).state_dict()
    digest = write_weights(state, tmp_path / 'tiny.safetensors')
    manifest = {NAME: dict(file='tiny.safetensors', sha256=digest)}
    (tmp_path / 'weights.json').write_text(json.dumps(manifest))
    monkeypatch.setattr(packaged, 'FOLDER', tmp_path)
    return tmp_path


def test_is_packaged__only_the_prefix():
    assert is_packaged('mmcae://a')
    assert is_packaged(Path('mmcae://a'))  # has one slash
    for other in ('a', '/a', 'mmcae', './mmcae:/a', 'http://mmcae://a'):
        assert not is_packaged(other), other


def test_local_file__paths_are_taken_as_they_are(folder):
    path = folder / 'tiny.safetensors'
    assert local_file(path) == path
    assert local_file(f'mmcae://{NAME}') == path
    with pytest.raises(FileNotFoundError, match='nowhere'):
        local_file('nowhere.pth')


def test_packaged_file__unknown_names_are_answered_with_the_known(folder):
    with pytest.raises(ValueError, match=f"did you mean 'mmcae://{NAME}'"):
        packaged_file('mmcae://dvae_tinny')
    with pytest.raises(ValueError, match=rf"no weights 'q' \(.*//{NAME}\)"):
        packaged_file('mmcae://q')


@pytest.mark.parametrize('name', ['', '..', '/etc/passwd', f'../x/{NAME}'])
def test_packaged_file__a_name_is_no_path(folder, name):
    with pytest.raises(ValueError, match='the package has no weights'):
        packaged_file(f'mmcae://{name}')


def test_packaged_file__another_prefix_is_refused():
    with pytest.raises(ValueError, match='x does not begin with mmcae://'):
        packaged_file('x')


def test_packaged_file__a_changed_file_is_refused(folder):
    path = folder / 'tiny.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match='its SHA-256 begins'):
        packaged_file(f'mmcae://{NAME}')
    with pytest.raises(UnreadableCheckpointError, match='its SHA-256 begins'):
        CheckpointLoader.load_checkpoint(f'mmcae://{NAME}')


def test_packaged_file__an_incomplete_package(folder):
    (folder / 'tiny.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='install the package again'):
        packaged_file(f'mmcae://{NAME}')
    (folder / 'weights.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'weights\.json: install'):
        packaged_weights()


def test_readers__take_the_address(folder):
    address = f'mmcae://{NAME}'
    state, digest = read_with_digest(address)
    assert digest == packaged_weights()[NAME]['sha256']
    loaded = CheckpointLoader.load_checkpoint(address)
    for key, value in state['state_dict'].items():
        assert torch.equal(loaded['state_dict'][key], value), key


def test_load_tokenizer_weights__takes_the_address(folder):
    tokenizer = DVAE(vocab_size=4, hidden_channels=(2, 2, 2))
    load_tokenizer_weights(tokenizer, f'mmcae://{NAME}')
    assert tokenizer.weights_info['file'] == NAME
    assert len(tokenizer.weights_info['sha256']) == 64
    with pytest.raises(ValueError, match="did you mean 'mmcae://dvae_tiny'"):
        load_tokenizer_weights(tokenizer, 'mmcae://dvae_tin')
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        load_tokenizer_weights(tokenizer, f'mmcae://{NAME}')
