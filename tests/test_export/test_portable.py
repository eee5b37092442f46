# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The form for exporters computes what the encoder computes, at all sizes."""

import pytest
import torch
from helpers.trained import tiny_model

from mmcae.export.comparison import sample_batches
from mmcae.export.portable import PortableModel, choose_part, make_part
from mmcae.export.source import source_of_model

CASES = [
    ('pretrain', 'encoder', {'pool': 'mean'}),
    ('pretrain', 'encoder', {'pool': 'cls'}),
    ('pretrain', 'encoder', {'pool': 'normed_mean'}),
    ('pretrain', 'dense', {}),
    ('finetune', 'encoder', {}),
    ('finetune', 'classifier', {}),
    ('finetune', 'dense', {'out_indices': [-1]}),
    ('linear', 'classifier', {}),
    ('attentive', 'classifier', {}),
]


@pytest.mark.parametrize(('kind', 'part', 'options'), CASES)
def test_portable__equal_at_all_sizes(kind, part, options):
    made = make_part(source_of_model(tiny_model(kind)), part, **options)
    model = PortableModel(made)
    for images in sample_batches(made, any_size=True):
        with torch.no_grad():
            found = model(images)
        for value, expected in zip(found, made.original(images), strict=True):
            assert torch.equal(value, expected), tuple(images.shape)


def test_make_part__pools():
    model = tiny_model('pretrain')
    source = source_of_model(model)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = model.extract_feat(images)[-1]
        raw = model.backbone.ln1
        model.backbone.ln1 = torch.nn.Identity()
        mean = raw(model.extract_feat(images)[-1][:, 1:].mean(dim=1))
    expected = {
        'mean': tokens[:, 1:].mean(dim=1),
        'cls': tokens[:, 0],
        'normed_mean': mean,
    }
    for pool, value in expected.items():
        features, _ = make_part(source, 'encoder', pool).original(images)
        torch.testing.assert_close(features, value)


def test_choose_part__what_a_model_was_trained_as():
    kinds = dict(pretrain='encoder', finetune='classifier')
    for kind, part in kinds.items():
        assert choose_part(source_of_model(tiny_model(kind)), None) == part
    source = source_of_model(tiny_model('pretrain'))
    with pytest.raises(ValueError, match='has no classifier'):
        choose_part(source, 'classifier')
    with pytest.raises(ValueError, match="part='whole' is none of"):
        choose_part(source, 'whole')


def test_portable__windows_have_a_fixed_number():
    model = tiny_model('finetune', window_size=3, global_indices=[1])
    made = make_part(source_of_model(model), 'classifier')
    with pytest.raises(ValueError, match='dynamic_size=False'):
        PortableModel(made)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        (logits,) = PortableModel(made, any_size=False)(images)
        assert torch.equal(logits, model(images))
