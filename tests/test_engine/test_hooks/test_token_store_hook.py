# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Training with stored tokens equals training with computed tokens."""

import os

import numpy as np
import pytest
from helpers.token_runs import DALLE, assert_equal, config, tokenizer, train

from mmcae.config.overrides import ConfigError
from mmcae.datasets import TokenStore
from mmcae.models import DVAE


@pytest.fixture
def tokenizer_calls(monkeypatch):
    """The number of images in each call of the tokenizer."""
    calls = []
    tokenize = DVAE.tokenize

    def counting(self, images, mask=None):
        calls.append(len(images))
        return tokenize(self, images, mask)

    monkeypatch.setattr(DVAE, 'tokenize', counting)
    return calls


def test_training__is_bit_for_bit_the_same_with_stored_tokens(
    photos, tmp_path, tokenizer_calls
):
    store = str(tmp_path / 'store')
    plain = train(config(photos, tmp_path / 'plain'))
    filling = train(config(photos, tmp_path / 'fill', token_store=store))
    assert tokenizer_calls == [4, 4, 3] * 6
    tokenizer_calls.clear()
    reading = train(config(photos, tmp_path / 'read', token_store=store))
    assert tokenizer_calls == []
    assert len(plain[0]) == 9
    assert len(set(plain[0])) == 9
    assert_equal(plain, filling)
    assert_equal(plain, reading)


@pytest.mark.parametrize('workers', [0, 2])
def test_training__mixes_stored_and_computed_tokens(
    photos, tmp_path, tokenizer_calls, workers
):
    store = tmp_path / 'store'
    plain = train(config(photos, tmp_path / 'plain'))
    train(config(photos, tmp_path / 'fill', epochs=2, token_store=str(store)))
    # Every second record of the second epoch is missing.
    file = store / 'views_00001.bin'
    records = np.fromfile(file, np.uint8).reshape(11, -1)
    complete = records.copy()
    records[::2] = 0
    records.tofile(file)
    tokenizer_calls.clear()
    mixed = train(
        config(
            photos,
            tmp_path / 'mixed',
            token_store=str(store),
            train_dataloader__num_workers=workers,
        )
    )
    assert_equal(plain, mixed)
    assert sum(tokenizer_calls) == 6 + 11
    assert tokenizer_calls[-3:] == [4, 4, 3]
    assert (np.fromfile(file, np.uint8) == complete.ravel()).all()


def test_training__resumes_with_the_store(photos, tmp_path, tokenizer_calls):
    store = str(tmp_path / 'store')
    plain = train(config(photos, tmp_path / 'plain'))
    work_dir = tmp_path / 'half'
    train(config(photos, work_dir, epochs=2, token_store=store))
    rest = train(
        config(
            photos,
            work_dir,
            token_store=store,
            resume=True,
            load_from=str(work_dir / 'epoch_1.pth'),
        )
    )
    assert_equal(plain, rest, first=3)
    assert tokenizer_calls == [4, 4, 3] * 6  # plain, two epochs, the third


@pytest.mark.slow
def test_training__with_dalle_and_a_pool(photos, tmp_path):
    def run(name, **options):
        cfg = config(
            photos,
            tmp_path / name,
            model__neck__num_classes=32,
            model__data_preprocessor__second_mean=[-31.875] * 3,
            model__data_preprocessor__second_std=[318.75] * 3,
            train_dataloader__num_workers=1,
            train_dataloader__sampler__view_pool=2,
            train_dataloader__sampler__type='mmcae.SeededInfiniteSampler',
            **options,
        )
        cfg.model.target_generator = tokenizer(tmp_path, DALLE)
        cfg.train_cfg = dict(by_epoch=False, max_iters=9)
        return train(cfg)

    store = tmp_path / 'store'
    plain = run('plain')
    assert_equal(plain, run('fill', token_store=str(store)))
    assert_equal(plain, run('read', token_store=str(store)))
    assert sorted(os.listdir(store)) == [
        'store.json',
        'views_00000.bin',
        'views_00001.bin',
    ]


def test_before_train__names_what_differs(photos, tmp_path):
    store = str(tmp_path / 'store')
    train(config(photos, tmp_path / 'one', epochs=1, token_store=store))
    other = config(
        photos,
        tmp_path / 'two',
        token_store=store,
        randomness__seed=3,
        model__neck__num_classes=20,
    )
    other.model.target_generator.update(vocab_size=20, init_cfg=None)
    (photos / 'new.png').write_bytes((photos / '00.png').read_bytes())
    with pytest.raises(ConfigError) as caught:
        train(other)
    lines = str(caught.value).splitlines()
    found = {line.split(':')[0].strip() for line in lines[1:-1]}
    assert found == {
        'tokenizer.weights',
        'tokenizer.vocab_size',
        'dataset.images',
        'dataset.names',
        'dataset.sizes',
        'seed',
    }
    assert '  seed: the store has 0, this run has 3' in lines


def test_before_train__allows_another_model_and_schedule(
    photos, tmp_path, tokenizer_calls
):
    store = str(tmp_path / 'store')
    train(config(photos, tmp_path / 'one', epochs=2, token_store=store))
    tokenizer_calls.clear()
    other = config(
        photos,
        tmp_path / 'two',
        epochs=2,
        token_store=store,
        model__backbone__img_size=64,
        model__backbone__patch_size=16,
        train_dataloader__batch_size=3,
        train_dataloader__sampler__shuffle=False,
        optim_wrapper__optimizer__lr=1e-3,
    )
    pipeline = other.train_dataloader.dataset.pipeline
    pipeline[2].update(size=64, interpolation='bilinear')
    pipeline[3].num_masking_patches = 5
    losses, _ = train(other)
    assert len(losses) == 8
    assert tokenizer_calls == []


def test_after_train_iter__continues_when_the_disk_is_full(
    photos, tmp_path, monkeypatch
):
    plain = train(config(photos, tmp_path / 'plain', epochs=2))

    def full(self, view, tokens):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(TokenStore, 'write', full)
    store = str(tmp_path / 'store')
    work_dir = tmp_path / 'full'
    assert_equal(
        plain, train(config(photos, work_dir, epochs=2, token_store=store))
    )
    (log,) = work_dir.glob('*/*.log')
    assert log.read_text().count('No more tokens are stored') == 1
