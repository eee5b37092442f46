# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files without usable weights: one sentence, wherever they are read."""

import re
import sys

import pytest
import torch
from helpers.converters import CONVERTERS
from helpers.scripts import run_as_main
from mmengine.model import PretrainedInit
from mmengine.runner import load_checkpoint
from torch import nn

from mmcae.checkpoint.load_with_report import load_state_dict
from mmcae.checkpoint.reading import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
    read_checkpoint,
)
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights
from mmcae.checkpoint.weights import weights_of
from mmcae.config.search_path import resource_root

ONE = torch.ones(1)
FAULTS = {
    'strings': ({'state_dict': {'a': 'b', 'c': ONE}}, '1 of its 2 values'),
    'numbers': ({'state_dict': {'a': 1.0}}, r'\(a: float\)'),
    'none': ({'state_dict': {'a': None}}, r'\(a: NoneType\)'),
    'nested': ({'state_dict': {'a': {'b': ONE}}}, r'\(a: dict\)'),
    'integer keys': ({'state_dict': {0: ONE}}, '0 is of type int'),
    'tuple keys': ({'state_dict': {(1, 2): ONE}}, 'is of type tuple'),
    'a list': ({'state_dict': [ONE]}, 'its state_dict is a list'),
    'a tensor': ({'state_dict': ONE}, 'its state_dict is a Tensor'),
    'text': ({'state_dict': 'weights'}, 'its state_dict is a str'),
    'nothing': ({'state_dict': None}, 'its state_dict is a NoneType'),
    'sparse': (
        {'state_dict': {'a': torch.eye(2).to_sparse()}},
        r'\(a: torch.sparse_coo tensor\)',
    ),
    'missing': (
        {'meta': {}, 'message_hub': {}},
        'it has no state_dict, only meta, message_hub',
    ),
    'bare integer keys': ({0: ONE}, '0 is of type int'),
    'empty name': ({'state_dict': {'\x1b[2J': ONE}}, r'there is \\x1b\[2J'),
}

# A file with a sparse tensor is refused earlier, by the reader.
FILES = {name: fault for name, fault in FAULTS.items() if name != 'sparse'}


def expect(words):
    return pytest.raises(UnreadableCheckpointError, match=words)


def test_weights_of__says_what_is_wrong(subtests):
    for name, (content, words) in FAULTS.items():
        with subtests.test(name=name):
            with expect(words) as info:
                weights_of(content, 'w.pth')
            message = str(info.value)
            start = 'w.pth holds no weights that can be used: '
            assert message.startswith(start)
            assert 'Give a file' in message
            assert '\n' not in message


def test_weights_of__finds_every_layout():
    state = {'a': ONE}
    for content in (
        state,
        {'state_dict': state, 'meta': {'model': 'x'}},
        {'model': state, 'optimizer': {}, 'epoch': 3},
        {'module': state},
        {'model': 'vit', 'state_dict': state},
        {'state_dict': {'module': state}},
    ):
        assert weights_of(content) == state
    assert weights_of({}) == {}


def test_read_checkpoint__refuses_a_sparse_tensor(tmp_path):
    torch.save(FAULTS['sparse'][0], tmp_path / 'w.pth')
    with pytest.raises(UnsafeCheckpointError, match='_rebuild_sparse_tensor'):
        read_checkpoint(tmp_path / 'w.pth')


def test_loaders__refuse_in_one_sentence(tmp_path, subtests):
    """The loaders are those of get_model and of Pretrained in a config."""
    for name in FILES:
        with subtests.test(name=name):
            assert_loaders_refuse(name, tmp_path)


def assert_loaders_refuse(name, tmp_path):
    content, words = FILES[name]
    path = tmp_path / 'w.pth'
    torch.save(content, path)
    with expect(words):
        load_tokenizer_weights(nn.Linear(1, 1), path)
    with expect(words) as info:
        load_checkpoint(nn.Linear(1, 1), str(path))
    assert '\n' not in str(info.value)
    layer = nn.Linear(1, 1)
    for prefix in (None, 'backbone.'):
        if name == 'missing' and prefix:
            continue  # mmengine itself says that there is no such prefix
        with expect(words):
            PretrainedInit(str(path), prefix=prefix)(layer)


def test_load_checkpoint__meta_is_a_dictionary(tmp_path, subtests):
    for meta in (None, 'x', []):
        with subtests.test(meta=meta):
            assert_meta_is_refused(tmp_path / 'w.pth', meta)


def assert_meta_is_refused(path, meta):
    torch.save({'state_dict': {'weight': ONE}, 'meta': meta}, path)
    with expect(r'w\.pth holds no weights .* its meta is a ') as info:
        load_checkpoint(nn.Linear(1, 1), str(path))
    assert '\n' not in str(info.value)


def test_load_state_dict__other_entries_are_ignored(tmp_path):
    layer = nn.Linear(1, 1)
    state = {**nn.Linear(1, 1).state_dict(), 'epoch': 3}
    load_state_dict(layer, state)
    assert torch.equal(layer.weight, state['weight'])
    with expect(r'\(weight: float\)'):
        load_state_dict(layer, {**state, 'weight': 1.0})


@pytest.mark.parametrize('tool', CONVERTERS)
def test_tools__refuse_in_one_sentence(
    tool, tmp_path, monkeypatch, capsys, subtests
):
    script, *options = tool.split()
    options += CONVERTERS[tool]
    path = resource_root() / f'tools/model_converters/{script}.py'
    source, target = tmp_path / 'src.pth', tmp_path / 'dst.pth'
    arguments = [str(path), *options, str(source), str(target)]
    monkeypatch.setattr(sys, 'argv', arguments)
    for name, (content, words) in FILES.items():
        with subtests.test(name=name):
            torch.save(content, source)
            with pytest.raises(SystemExit) as info:
                run_as_main(path)
            shown = capsys.readouterr().err.strip() or str(info.value.code)
            assert info.value.code not in (0, None)
            assert len(shown.splitlines()) == 1
            assert str(source) in shown
            assert 'Traceback' not in shown
            assert '\x1b' not in shown
            assert re.search(words, shown), shown
    assert not target.exists()


def test_extract_features__refuses_in_one_sentence(
    tmp_path, monkeypatch, capsys
):
    script = resource_root() / 'tools/extract_features.py'
    for name in ('a list', 'integer keys', 'strings', 'missing'):
        content, words = FAULTS[name]
        torch.save(content, tmp_path / 'w.pth')
        config = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
        arguments = [config, tmp_path / 'w.pth', tmp_path, tmp_path / 'o.npz']
        monkeypatch.setattr(sys, 'argv', ['x', *map(str, arguments)])
        with pytest.raises(SystemExit) as info:
            run_as_main(script)
        assert info.value.code == 2
        errors = capsys.readouterr().err.splitlines()
        assert re.match(f'error: .*{words}', errors[-1])
        assert not [line for line in errors if 'Traceback' in line]
