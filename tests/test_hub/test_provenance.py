# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which weights of others a training began with."""

import pytest
import torch
from helpers.tiny_checkpoint import TOKENIZER, tiny_config, write_checkpoints
from mmengine.config import Config

from mmcae.apis.recorded_config import recorded_config
from mmcae.checkpoint.files import sha256_of
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.config.search_path import find_config
from mmcae.hub.provenance import foreign_weights

DVAE = 'dvae_f8-k64_1xb32-13e_digits-32px'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The checkpoint of a run whose tokenizer is a run, too."""
    root = tmp_path_factory.mktemp('runs')
    path = write_checkpoints(root)
    tokenizer = root / TOKENIZER
    save(tokenizer, Config.fromfile(find_config(DVAE)).pretty_text)
    save(path, tiny_config().pretty_text, tokenizer)
    return path


def save(path, cfg, tokenizer=None):
    old = torch.load(path, weights_only=False)
    meta = dict(cfg=cfg)
    if tokenizer is not None:
        meta['tokenizer'] = dict(sha256=sha256_of(tokenizer))
    torch.save(dict(meta=meta, state_dict=old.get('state_dict', old)), path)


def foreign(path, **changes):
    content = read_checkpoint(path)
    config = recorded_config(content)
    config.merge_from_dict(changes)
    return foreign_weights(config, content, path)


def test_own__a_run_on_the_tokens_of_a_run(run):
    assert foreign(run) == []


def test_foreign__one_phrase_for_each_start(run, subtests):
    generator = 'model.target_generator'
    start = f'{generator}.init_cfg.checkpoint'
    url = 'https://example.org/x.pth'
    for changes, phrase in (
        ({'load_from': url}, f'{url} comes from elsewhere'),
        ({'load_from': 'hf://a/b'}, 'hf://a/b comes from elsewhere'),
        ({'load_from': '/far/away/x.pth'}, 'x.pth is not here'),
        ({start: 'gone.pth'}, 'gone.pth is not here'),
        ({start: f'mmcae://{DVAE}'}, f'mmcae://{DVAE} travels in'),
        ({f'{generator}.type': 'mmcae.DALLEEncoder'}, 'from DALLEEncoder'),
        (
            {
                'model.backbone.init_cfg': dict(
                    type='Pretrained', checkpoint=url
                )
            },
            f'{url} comes from elsewhere',
        ),
    ):
        with subtests.test(phrase):
            (found,) = foreign(run, **changes)
            assert phrase in found


def test_foreign__what_is_not_recorded(run, tmp_path):
    content = read_checkpoint(run)
    (found,) = foreign_weights(None, content, run)
    assert found == 'epoch_80.pth does not record how it was trained'
    bare = tmp_path / 'bare.pth'
    torch.save({'weight': torch.zeros(2)}, bare)
    (found,) = foreign(run, load_from=str(bare))
    assert found == 'bare.pth does not record how it was trained'


def test_foreign__another_tokenizer_under_the_same_name(run):
    tokenizer = run.parents[2] / TOKENIZER
    kept = tokenizer.read_bytes()
    try:
        save(tokenizer, Config.fromfile(find_config(DVAE)).pretty_text + '\n')
        assert (
            sha256_of(tokenizer)
            != read_checkpoint(run)['meta']['tokenizer']['sha256']
        )
        (found,) = foreign(run)
    finally:
        tokenizer.write_bytes(kept)
    assert found == 'epoch_13.pth is not the file that the training had'
