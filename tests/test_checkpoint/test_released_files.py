# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files of earlier versions keep loading: none loses a user's work.

`tests/helpers/released_files.py` makes them.
"""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from helpers import released_files
from helpers.released_files import make_config, make_images
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from mmcae.checkpoint.work_dir import newest_good
from mmcae.datasets import TokenStore
from mmcae.version import __version__

FOLDER = Path(__file__).parents[1] / 'data' / 'released'
FILES = sorted(FOLDER.glob('*.zip'))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def released(request, tmp_path):
    """The folder of a version, as its user has it."""
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    make_images(tmp_path / 'photos')
    return tmp_path


def test_files__are_small_and_there_is_one_of_this_version():
    assert f'{__version__}.zip' in [path.name for path in FILES]
    assert all(path.stat().st_size < 100_000 for path in FILES)


def test_checkpoint__loads_completely(released):
    model = MODELS.build(make_config(released).model)
    before = model.state_dict()['backbone.cls_token'].clone()
    load_checkpoint(model, str(released / 'epoch_1.pth'), strict=True)
    assert not torch.equal(model.state_dict()['backbone.cls_token'], before)


def test_token_store__has_the_tokens(released):
    store = TokenStore.open(released / 'store')
    cfg = make_config(released)
    tokenizer = MODELS.build(cfg.model.target_generator)
    tokenizer.init_weights()
    assert store.length == 16
    tokens = [store.read((0, 0, index)) for index in range(8)]
    assert all(one is not None for one in tokens)


def test_run__resumes_with_the_stored_tokens(released, monkeypatch):
    assert newest_good(released) == (released / 'epoch_1.pth', [])
    facts = json.loads((released / 'facts.json').read_text())
    cfg = make_config(released)
    cfg.resume = True
    losses = released_files.train(cfg)
    # The version continued with these; another processor may round otherwise.
    assert losses == pytest.approx(facts['losses'][2:], rel=1e-4)
    (log,) = released.glob('*/*.log')
    text = log.read_text()
    assert 'Token store: 8 of 8 views (100.0%) came with their tokens' in text
