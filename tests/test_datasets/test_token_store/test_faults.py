# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The token store with other processes, full disks and odd folders."""

import errno
import os

import numpy as np
import pytest

from mmcae.config.check import ConfigError
from mmcae.datasets import TokenStore
from mmcae.datasets.token_store import store as token_store

HEADER = dict(
    format=1,
    tokenizer=dict(vocab_size=500),
    dataset=dict(images=40),
    grid=(3, 4),
    seed=7,
)
TOKENS = np.arange(12) * 41


@pytest.fixture
def store(tmp_path):
    return TokenStore.for_run(tmp_path / 'store', HEADER)


def test_init__expands_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    store = TokenStore.for_run('~/store', HEADER)
    store.write((7, 0, 0), TOKENS)
    assert (tmp_path / 'store/views_00000.bin').exists()
    assert TokenStore('~/store', store.header).missing(0, [0]) == []


def test_for_run__continues_with_other_python_types_in_the_header(store):
    store.write((7, 0, 0), TOKENS)
    again = TokenStore.for_run(store.path, HEADER)  # grid is a tuple
    assert again.missing(0, [0]) == []
    text = (store.path / 'store.json').read_text()
    turned = TokenStore.for_run(store.path, dict(reversed(HEADER.items())))
    assert turned.missing(0, [0]) == []
    assert (store.path / 'store.json').read_text() == text
    mirrored = TokenStore(store.path, dict(reversed(store.header.items())))
    assert mirrored.missing(0, [0]) == []


def test_for_run__names_keys_that_the_store_lacks(store):
    with pytest.raises(ConfigError, match='pool: the store has None, this ru'):
        TokenStore.for_run(store.path, {**HEADER, 'view_pool': 3})


def test_for_run__takes_a_folder_with_hidden_files(tmp_path):
    # A process that was killed at its start leaves such a file.
    (tmp_path / '.store.json.12.part').write_text('{')
    assert TokenStore.for_run(tmp_path, HEADER).length == 12


def test_for_run__writes_the_header_completely_or_not_at_all(
    tmp_path, monkeypatch
):
    def fail(_):
        raise OSError(errno.ENOSPC, 'full')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fail)
        with pytest.raises(OSError, match='full'):
            TokenStore.for_run(tmp_path / 'store', HEADER)
    assert os.listdir(tmp_path / 'store') == []
    assert TokenStore.for_run(tmp_path / 'store', HEADER).length == 12


def test_read__returns_a_new_array(store):
    store.write((7, 0, 3), TOKENS)
    store.read((7, 0, 3))[:] = 0
    assert (store.read((7, 0, 3)) == TOKENS).all()


def test_read__returns_none_outside_the_dataset(store):
    store.write((7, 0, 39), TOKENS)
    for index in (-1, 40, 10**12):
        assert store.read((7, 0, index)) is None


def test_read__returns_none_for_a_hole_with_a_valid_checksum(
    store, monkeypatch
):
    monkeypatch.setattr(token_store.zlib, 'crc32', lambda *_: 0)
    store.write((7, 0, 3), TOKENS)
    assert store.missing(0, range(5)) == [0, 1, 2, 4]


def test_write__reports_half_a_record_as_a_full_disk(store, monkeypatch):
    write = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(
            os, 'pwrite', lambda fd, data, at: write(fd, data[:20], at)
        )
        with pytest.raises(OSError, match='views_00000') as caught:
            store.write((7, 0, 3), TOKENS)
    assert caught.value.errno == errno.ENOSPC
    assert store.read((7, 0, 3)) is None
    store.write((7, 0, 3), TOKENS)
    assert store.missing(0, [3]) == []


def test_write__keeps_what_another_process_wrote_meanwhile(store, monkeypatch):
    store.write((7, 0, 3), TOKENS)
    file = store.path / 'views_00000.bin'
    written = file.read_bytes()
    file.unlink()
    late = TokenStore.open(store.path)
    # between the check for the file and its creation
    monkeypatch.setattr(
        token_store, 'check_space', lambda *_: file.write_bytes(written)
    )
    late.write((7, 0, 5), TOKENS)
    assert late.missing(0, range(6)) == [0, 1, 2, 4]


def test_bytes_to_fill__subtracts_the_bytes_on_disk(store):
    for index in range(40):
        store.write((7, 0, index), TOKENS)
    with open(store.path / 'views_00000.bin', 'rb') as file:
        os.fsync(file.fileno())  # some file systems allocate blocks late
    assert store.bytes_to_fill([0]) == 0
    assert store.bytes_to_fill(range(3)) == 2 * 40 * 28
