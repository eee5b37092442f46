# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Questions about a picture, asked by several threads at once."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmpretrain import get_model

from mmcae.apis import reconstruct
from mmcae.apis.attention import attention_maps
from mmcae.apis.image_views import prepare
from mmcae.apis.loading import LoadedModel, load_model
from mmcae.app.examples import EMOJI, find_examples
from mmcae.app.explorer import MEAN, ROLLOUT, Explorer
from mmcae.app.uploads import read_upload

CLASSIFIER = 'mmcae://tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px'


@pytest.fixture(scope='module')
def cat():
    return read_upload(EMOJI / 'cat.png')


def test_reconstruction__is_that_of_the_interface(explorer, loaded, cat):
    mask = explorer.draw_mask(0.5, seed=3)
    found = explorer.reconstruct(cat, mask)
    expected = reconstruct(loaded, cat, mask=0.5, seed=3)
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_array_equal(found.predicted, expected.predicted)
    np.testing.assert_array_equal(found.alignment, expected.alignment)
    assert found.token_accuracy > 0.2


def test_attention__is_that_of_the_interface(explorer, loaded, cat):
    images = prepare(loaded, [explorer.maker.views(cat)])[0]
    expected = attention_maps(loaded.backbone, images)
    found = explorer.attention(cat, (2, 4), block=1)
    assert list(found) == [MEAN, 'head 1', 'head 2', 'head 3', ROLLOUT]
    for title, values in {
        MEAN: expected.of_patch(2, 4, 1),
        'head 2': expected.of_patch(2, 4, 1, 1),
        ROLLOUT: expected.rollout((2, 4)),
    }.items():
        np.testing.assert_array_equal(found[title], values[0])
    token = explorer.attention(cat)['head 3']
    np.testing.assert_array_equal(token, expected.of_class_token(-1, 2)[0])


def test_threads__get_the_answers_to_their_own_questions(explorer):
    """Hooks record on the shared model, so calls must not overlap."""
    pictures = [read_upload(path) for path in sorted(EMOJI.glob('*.png'))[:4]]

    def ask(number):
        mask = explorer.draw_mask(0.5, seed=number)
        pixels = pictures[number % 4]
        result = explorer.reconstruct(pixels, mask)
        maps = explorer.attention(pixels, (number % 6, 1))
        return result.predicted, result.alignment, maps[ROLLOUT]

    expected = [ask(number) for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, list(range(12)) * 3))
    for number, answer in enumerate(found):
        for own, alone in zip(answer, expected[number % 12], strict=True):
            np.testing.assert_array_equal(own, alone)


def test_calls_of_the_model__never_overlap(explorer, cat, monkeypatch):
    inside, most = [], []
    forward = explorer.loaded.backbone.forward

    def watched(*args, **kwargs):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        try:
            return forward(*args, **kwargs)
        finally:
            inside.pop()

    monkeypatch.setattr(explorer.loaded.backbone, 'forward', watched)
    mask = explorer.draw_mask(0.5)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(explorer.reconstruct, cat, mask)
            pool.submit(explorer.attention, cat)
    assert max(most) == 1
    assert len(most) >= 8


def test_model__is_only_read(loaded, cat):
    explorer = Explorer(loaded)
    before = {k: v.clone() for k, v in loaded.model.state_dict().items()}
    explorer.reconstruct(cat, explorer.draw_mask(0.3))
    explorer.attention(cat)
    after = loaded.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert not any(module.training for module in loaded.model.modules())
    assert not any(p.requires_grad for p in loaded.model.parameters())


@pytest.mark.parametrize(('cell', 'count'), [(False, 'none'), (True, 'all')])
def test_mask__needs_masked_and_visible_patches(explorer, cell, count):
    with pytest.raises(ValueError, match=f'masks {count} of the 36 patches'):
        explorer.check_mask(np.full((6, 6), cell))


def test_neighbors__leave_out_the_picture_and_name_unreadable(
    loaded, tmp_path
):
    folder = tmp_path / 'animals'
    folder.mkdir()
    for name in ('cat', 'koala', 'elephant', 'bus'):
        shutil.copy(EMOJI / f'{name}.png', folder)
    shutil.copy(EMOJI / 'cat.png', folder / 'twin.png')
    (folder / 'broken.png').write_text('no picture')
    explorer = Explorer(loaded)
    (reason,) = explorer.add_folder(folder)
    assert 'broken.png' in reason
    cat = folder / 'cat.png'
    found = explorer.neighbors(read_upload(cat), str(cat))
    assert found[0].name == 'twin.png'
    assert found[0].cosine == pytest.approx(1)
    assert {item.name for item in found} == {
        *('twin.png', 'koala.png', 'elephant.png', 'bus.png')
    }
    assert found[1].picture.shape == (48, 48, 3)
    (folder / 'twin.png').write_text('another file now')
    (first, *_) = explorer.neighbors(read_upload(cat), str(cat))
    assert first.picture is None


def test_folder__that_is_not_there_or_has_no_image(loaded, tmp_path):
    explorer = Explorer(loaded)
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        explorer.add_folder(tmp_path / 'none')
    (tmp_path / 'x.png').write_text('no picture')
    with pytest.raises(ValueError, match=r'no image of .* can be read'):
        explorer.add_folder(tmp_path)


def test_classifier__shows_attention_and_says_what_it_cannot(cat):
    explorer = Explorer(load_model(CLASSIFIER))
    assert not explorer.can_predict
    (sentence,) = explorer.limits
    assert sentence.startswith('ImageClassifier does not predict masked')
    assert explorer.attention(cat)[MEAN].shape == (4, 4)


def test_target_without_a_decoder__is_named(loaded):
    note = 'DALLEEncoder has no decoder'
    limited = replace(loaded, decoder=None, notes=[note])
    assert Explorer(limited).limits == [note]
    limited.notes[0] = f'the tokenizer cannot be loaded ({"x" * 500}); give it'
    assert Explorer(limited).limits == [
        'the tokenizer cannot be loaded; the terminal of the server says more'
    ]


def test_model_without_our_encoder__is_refused():
    other = LoadedModel(get_model('resnet18_8xb16_cifar10'))
    with pytest.raises(ValueError, match='has no encoder of mmcae'):
        Explorer(other)


def test_examples__begin_with_what_the_model_knows(tmp_path):
    names = [e.name for e in find_examples(tmp_path, 'data/digits/train')]
    assert names[0].startswith('digit ')
    assert {'cat', 'china', 'flower'} <= set(names)
    names = [e.name for e in find_examples(tmp_path, 'data/emoji/train')]
    assert names[0] == 'bus'
    own = [str(tmp_path / f'{i}.png') for i in range(20)]
    names = [e.name for e in find_examples(tmp_path, '', own)]
    assert names[:8] == ['0', '3', '6', '9', '12', '15', '18', 'china']


def test_examples__can_all_be_read(tmp_path):
    for example in find_examples(tmp_path):
        assert read_upload(example.path).ndim == 3
