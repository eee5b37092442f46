# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A tokenizer gets all of its weights, or an error says what is wrong."""

import pytest
import torch
from torch import nn

from mmcae.checkpoint.reading import UnsafeCheckpointError, sha256_of
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights


def test_load_tokenizer_weights__accepts_the_usual_wrappings(tmp_path):
    given = nn.Linear(2, 3)
    weights = given.state_dict()
    wrapped = {f'target_generator.{k}': v for k, v in weights.items()}
    parallel = {f'module.{k}': v for k, v in weights.items()}
    contents = (
        weights,
        {'state_dict': weights, 'meta': {}, 'optimizer': {}},
        {'state_dict': {**wrapped, 'backbone.w': torch.ones(1)}},
        {'state_dict': parallel},
    )
    for number, content in enumerate(contents):
        path = tmp_path / f'{number}.pth'
        torch.save(content, path)
        module = nn.Linear(2, 3)
        load_tokenizer_weights(module, path)
        assert torch.equal(module.weight, given.weight)
        assert module.weights_info == {
            'file': path.name,
            'sha256': sha256_of(path),
        }


CHANGES = {
    'a key missing': (
        lambda w: w.pop('bias'),
        r'1 of 2 tensors missing \(bias\)',
    ),
    'a key more': (
        lambda w: w.update(x=torch.ones(1)),
        r'1 unexpected \(x\)',
    ),
    'another shape': (
        lambda w: w.update(weight=torch.ones(3, 5)),
        r'weight: \(3, 5\) instead of \(3, 2\)',
    ),
    'nothing': (lambda w: w.clear(), '2 of 2 tensors missing'),
}


def test_load_tokenizer_weights__accepts_nothing_partial(tmp_path, subtests):
    for name, (change, message) in CHANGES.items():
        with subtests.test(name=name):
            module = nn.Linear(2, 3)
            before = module.weight.clone()
            weights = dict(nn.Linear(2, 3).state_dict())
            change(weights)
            torch.save(weights, tmp_path / 'w.pth')
            with pytest.raises(ValueError, match=message):
                load_tokenizer_weights(module, tmp_path / 'w.pth')
            assert torch.equal(module.weight, before)


def test_load_tokenizer_weights__says_how_to_convert_a_pickle(tmp_path):
    torch.save(nn.Linear(1, 1), tmp_path / 'encoder.pkl')
    with pytest.raises(UnsafeCheckpointError, match=r'dalle_to_mmcae\.py'):
        load_tokenizer_weights(nn.Linear(1, 1), tmp_path / 'encoder.pkl')
