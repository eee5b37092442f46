# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a checkpoint for publication."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.recordings import TINY, cae_config
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from mmcae.checkpoint.reading import read_checkpoint

TOOL = Path(__file__).parents[3] / 'tools/model_converters/publish_model.py'


def run(*args):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, args)], capture_output=True, text=True
    )


@pytest.fixture
def training(tmp_path):
    """Write a training checkpoint with parts that are not published."""
    torch.manual_seed(0)
    model = MODELS.build(cae_config(TINY, target_encoder='copy'))
    model.init_weights()
    state = dict(model.state_dict())
    state['target_generator.blocks.input.w'] = torch.zeros(1000)
    meta = dict(epoch=3, seed=1, cfg='secret', dataset_meta=dict(classes=()))
    optimizer = dict(state={0: torch.zeros(100_000)})
    path = tmp_path / 'epoch_3.pth'
    torch.save(dict(state_dict=state, optimizer=optimizer, meta=meta), path)
    return path, model


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_publish__keeps_the_weights_and_names_their_hash(training, ending):
    source, model = training
    result = run(source, source.with_name('cae' + ending))
    assert result.returncode == 0, result.stderr
    (final,) = source.parent.glob('cae-*' + ending)
    digest = hashlib.sha256(final.read_bytes()).hexdigest()
    assert final.name == f'cae-{digest[:8]}{ending}'
    assert final.stat().st_size < source.stat().st_size / 2
    assert not source.with_name('cae' + ending).exists()
    published = read_checkpoint(final)
    assert set(published) == {'state_dict', 'meta'}
    meta = published['meta']
    assert (meta['epoch'], meta['dataset_meta']) in (
        (3, {'classes': ()}),
        (3, {'classes': []}),
    )
    assert not {'seed', 'cfg'} & set(meta)
    assert meta['source'] == 'epoch_3.pth'
    assert 'dropped: teacher.* (36), target_generator.' in result.stdout
    assert not any(
        key.startswith(('teacher', 'target_generator'))
        for key in published['state_dict']
    )
    shared = MODELS.build(cae_config(TINY))
    load_checkpoint(shared, str(final), strict=True)
    for key, value in shared.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


def test_publish__refuses_a_file_that_is_no_checkpoint(tmp_path):
    source = tmp_path / 'text.pth'
    source.write_text('no weights')
    result = run(source, tmp_path / 'out.pth')
    assert result.returncode == 1
    assert 'text.pth' in result.stderr
    assert 'Traceback' not in result.stderr
    assert not list(tmp_path.glob('out*'))
