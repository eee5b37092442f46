# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A token store never returns wrong tokens, not even after a crash."""

import copy
import itertools
import json
import multiprocessing
import pickle
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mmcae.config.overrides import ConfigError
from mmcae.datasets import TokenStore
from mmcae.datasets.token_store.store import check_space

HEADER = dict(
    format=1,
    tokenizer=dict(type='DVAE', weights='ab', vocab_size=500),
    views={'0_RandomFlip': dict(prob=0.5)},
    dataset=dict(images=40, names='x'),
    grid=[3, 4],
    seed=7,
    view_pool=0,
)


def tokens_of(view):
    return (np.arange(12) * 41 + view[1] * 100 + view[2]) % 500


@pytest.fixture
def store(tmp_path):
    return TokenStore.for_run(tmp_path / 'store', HEADER)


def test_read__returns_the_written_tokens(store, tmp_path):
    views = [(7, 0, 0), (7, 0, 39), (7, 2, 5), (7, 10**6, 8)]
    for view in views:
        assert store.read(view) is None
        store.write(view, tokens_of(view))
    again = TokenStore.open(tmp_path / 'store')
    for reader in (store, again, pickle.loads(pickle.dumps(again))):
        for view in views:
            found = reader.read(view)
            assert found.dtype == np.uint16
            assert (found == tokens_of(view)).all()
        assert reader.read((7, 0, 1)) is None
        assert reader.read((7, 1, 0)) is None
        assert reader.read((8, 0, 0)) is None
        assert reader.read((7, 0, 40)) is None
    assert copy.deepcopy(store).missing(0, range(0, 40, 13)) == [13, 26]


def test_read__keeps_few_files_open(store):
    for slot in range(20):
        store.write((7, slot, 3), tokens_of((7, slot, 3)))
        assert store.read((7, slot // 2, 3)) is not None
    assert len(store._files) <= 4


def test_read__takes_microseconds(store):
    store.write((7, 0, 3), tokens_of((7, 0, 3)))
    times = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(200):
            store.read((7, 0, 3))
        times.append(time.process_time() - begun)
    assert min(times) / 200 < 50e-6


@pytest.mark.parametrize('byte', range(28))
def test_read__rejects_any_damage(store, byte):
    store.write((7, 0, 1), tokens_of((7, 0, 1)))
    file = store.path / 'views_00000.bin'
    data = bytearray(file.read_bytes())
    assert len(data) == 2 * 28 == 2 * store.record_bytes
    data[28 + byte] ^= 4
    file.write_bytes(data)
    assert store.read((7, 0, 1)) is None
    store.write((7, 0, 1), tokens_of((7, 0, 1)))
    assert (store.read((7, 0, 1)) == tokens_of((7, 0, 1))).all()


def test_read__rejects_a_record_of_another_position_or_header(store, tmp_path):
    store.write((7, 0, 1), tokens_of((7, 0, 1)))
    data = (store.path / 'views_00000.bin').read_bytes()
    (store.path / 'views_00001.bin').write_bytes(data)
    assert store.read((7, 1, 1)) is None
    (store.path / 'views_00000.bin').write_bytes(data[28:])
    assert store.read((7, 0, 0)) is None
    other = TokenStore.for_run(tmp_path / 'other', dict(HEADER, grid=[4, 3]))
    (other.path / 'views_00000.bin').write_bytes(data)
    assert other.read((7, 0, 1)) is None


def test_read__finds_nothing_in_a_truncated_file(store):
    for i in range(40):
        store.write((7, 0, i), tokens_of((7, 0, i)))
    file = store.path / 'views_00000.bin'
    file.write_bytes(file.read_bytes()[: 28 * 10 + 27])
    assert store.missing(0, range(40)) == list(range(10, 40))


def test_write__refuses_views_and_tokens_that_do_not_fit(store):
    good = tokens_of((7, 0, 0))
    for view in ((6, 0, 0), (7, 0, 40), (7, 0, -1)):
        with pytest.raises(ValueError, match=r'seed is 7.*0 to 39'):
            store.write(view, good)
    for tokens in (good[1:], good + 49, good - 1):
        with pytest.raises(
            ValueError, match='12 per view, each from 0 to 499'
        ):
            store.write((7, 0, 0), tokens)
    assert store.missing(0, range(40)) == list(range(40))


def fill_for_ever(path, start):
    store = TokenStore.open(path)
    for i in itertools.count(start):
        view = (7, i // 40 % 3, i % 40)
        store.write(view, tokens_of(view))


def test_write__by_two_processes_that_are_killed(store):
    fork = multiprocessing.get_context('fork')
    writers = [
        fork.Process(target=fill_for_ever, args=(store.path, start))
        for start in (0, 60)
    ]
    for writer in writers:
        writer.start()
    reads = passes = 0
    while not reads or passes < 20:
        passes += 1
        for slot in range(3):
            for i in range(40):
                found = store.read((7, slot, i))
                if found is not None:
                    reads += 1
                    assert (found == tokens_of((7, slot, i))).all()
    for writer in writers:
        writer.kill()
        writer.join()
    for slot in range(3):
        for i in store.missing(slot, range(40)):
            store.write((7, slot, i), tokens_of((7, slot, i)))
        for i in range(40):
            assert (store.read((7, slot, i)) == tokens_of((7, slot, i))).all()


def test_for_run__names_every_difference(store):
    assert TokenStore.for_run(store.path, HEADER).header == store.header
    other = copy.deepcopy(HEADER)
    other['seed'] = 8
    other['views']['0_RandomFlip']['prob'] = 0.25
    other['tokenizer'].update(weights='cd')
    del other['dataset']['names']
    with pytest.raises(ConfigError) as caught:
        TokenStore.for_run(store.path, other)
    assert str(caught.value).splitlines()[1:-1] == [
        "  tokenizer.weights: the store has 'ab', this run has 'cd'",
        '  views.0_RandomFlip.prob: the store has 0.5, this run has 0.25',
        "  dataset.names: the store has 'x', this run has None",
        '  seed: the store has 7, this run has 8',
    ]


def test_for_run__does_not_change_other_folders(tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'x')
    with pytest.raises(ConfigError, match='not empty'):
        TokenStore.for_run(tmp_path, HEADER)
    with pytest.raises(ConfigError, match='not a folder'):
        TokenStore.for_run(tmp_path / 'photo.jpg', HEADER)
    assert [p.name for p in tmp_path.iterdir()] == ['photo.jpg']
    with pytest.raises(FileNotFoundError, match='not a token store'):
        TokenStore.open(tmp_path)


@pytest.mark.parametrize(
    'text', ['', '{"format": 1', '{}', '[]', '{"format": 1}']
)
def test_open__says_that_a_header_is_damaged(store, text):
    (store.path / 'store.json').write_text(text)
    with pytest.raises(ConfigError, match=r'store\.json is damaged'):
        TokenStore.open(store.path)


def test_open__refuses_another_format(store):
    (store.path / 'store.json').write_text(json.dumps({**HEADER, 'format': 2}))
    with pytest.raises(ConfigError, match=r'format 2, but .* reads format 1'):
        TokenStore.open(store.path)


def test_check_space__leaves_a_part_of_the_disk(tmp_path, monkeypatch, store):
    disk = SimpleNamespace(total=10**13, free=2**30 + 1000)
    monkeypatch.setattr('shutil.disk_usage', lambda path: disk)
    check_space(tmp_path, 1000)
    with pytest.raises(OSError, match='1,001 bytes of tokens do not fit'):
        check_space(tmp_path, 1001)
    disk.free = 2**30 + store.file_bytes - 1
    with pytest.raises(OSError, match='do not fit'):
        store.write((7, 0, 0), tokens_of((7, 0, 0)))
    assert store.bytes_to_fill(range(3)) == 3 * 40 * 28
    disk.total = disk.free = 2000
    check_space(tmp_path, 1900)
    with pytest.raises(OSError, match='100 of them must stay free'):
        check_space(tmp_path, 1901)
