# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import logging
import os

import numpy as np
import pytest
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from mmcae.datasets import (
    FolderDataset,
    SampleIndex,
    SeededSampler,
    UnreadableImageError,
)

LOAD = [dict(type='mmcae.LoadImage')]


def spoil(photos, *names):
    for name in names:
        (path,) = photos.rglob(f'{name}.png')
        path.write_bytes(b'no image')


@pytest.fixture
def logged(tmp_path):
    """Read the warnings in the log file, from all processes."""
    file = tmp_path / 'test.log'
    name = str(tmp_path)
    logger = MMLogger.get_instance(name, log_file=str(file))
    logger.setLevel(logging.INFO)

    def read():
        lines = file.read_text().splitlines()
        return [line for line in lines if 'unreadable' in line]

    yield read
    MMLogger._instance_dict.pop(name, None)


def as_list(batch):
    return [(s['sample_idx'] + 0, s['img'].tobytes()) for s in batch]


def run(data, workers, epochs=2, **kwargs):
    sampler = SeededSampler(data, seed=0)
    loader = DataLoader(
        data,
        batch_size=2,
        sampler=sampler,
        num_workers=workers,
        collate_fn=as_list,
        **kwargs,
    )
    seen = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        seen.append([sample for batch in loader for sample in batch])
    return seen


def test_prepare_data__replaces_names_and_counts(photos, logged):
    spoil(photos, '04', '07')
    data = FolderDataset(str(photos), pipeline=LOAD)
    bad = {
        i
        for i in range(11)
        if data.get_data_info(i)['img_path'][-6:] in ('04.png', '07.png')
    }
    epochs = run(data, 0)
    for epoch in epochs:
        assert len(epoch) == 11
        assert not bad & {index for index, _ in epoch}
    assert data.num_unreadable == 2
    assert set(np.flatnonzero(data.unreadable_flags)) == bad
    lines = logged()
    assert len(lines) == 2
    for name in ('04', '07'):
        (line,) = [x for x in lines if f'{name}.png' in x]
        assert line.endswith('.png: not an image, or of an unknown format')
    assert all('(not an image' in x for x in data.unreadable_files())


@pytest.mark.parametrize('persistent', [False, True])
def test_prepare_data__is_the_same_with_workers(photos, logged, persistent):
    spoil(photos, '04', '07')
    data = FolderDataset(str(photos), pipeline=LOAD)
    found = run(data, 4, persistent_workers=persistent)
    assert data.num_unreadable == 2
    assert len(logged()) == 2
    assert sorted(os.path.basename(f) for f in data.unreadable_files()) == [
        '04.png',
        '07.png',
    ]
    assert found == run(FolderDataset(str(photos), pipeline=LOAD), 0)


def test_prepare_data__is_the_same_with_a_cache(photos):
    spoil(photos, '04', '07')
    expected = run(FolderDataset(str(photos), pipeline=LOAD), 0)
    data = FolderDataset(str(photos), pipeline=LOAD, cache=True)
    assert run(data, 0) == expected
    assert data.num_unreadable == 2


def test_prepare_data__chooses_by_identity(photos):
    spoil(photos, '00')
    data = FolderDataset(str(photos), pipeline=LOAD)
    found = [
        data[SampleIndex(0, (0, epoch, 0))]['sample_idx']
        for epoch in range(60)
    ]
    assert set(found) == set(range(1, 11))
    assert found[3].identity == (0, 3, 0)
    np.random.seed(0)
    bare = [data[0]['sample_idx'] for _ in range(20)]
    np.random.seed(0)
    assert bare == [data[0]['sample_idx'] for _ in range(20)]


def test_prepare_data__stops_at_too_many(photos):
    spoil(photos, '02', '04', '07', '08')
    data = FolderDataset(str(photos), pipeline=LOAD)
    assert data.allowed_unreadable == 3
    with pytest.raises(RuntimeError, match='more than 3 of 11') as caught:
        run(data, 0)
    for name in ('02', '04', '07', '08'):
        assert f'{name}.png' in str(caught.value)


def test_prepare_data__stops_at_too_many_with_workers(photos):
    spoil(photos, '02', '04', '07', '08')
    data = FolderDataset(str(photos), pipeline=LOAD)
    loader = iter(
        DataLoader(data, 2, num_workers=2, collate_fn=lambda batch: batch)
    )
    with pytest.raises(RuntimeError, match='more than 3 of 11') as caught:
        list(loader)
    loader._shutdown_workers()  # garbage collection would need 10 s
    for name in ('02', '04', '07', '08'):
        assert f'{name}.png' in str(caught.value)


def test_prepare_data__stops_at_many_in_a_row(photos):
    for path in list(photos.rglob('*.png'))[3:]:
        path.unlink()
    spoil(photos, *[p.stem for p in photos.rglob('*.png')])
    data = FolderDataset(str(photos), pipeline=LOAD)
    with pytest.raises(RuntimeError, match='20 in a row of 3'):
        run(data, 0)


def test_prepare_data__lists_only_some(photos, monkeypatch):
    monkeypatch.setattr('mmcae.datasets.skip_unreadable._MAX_LISTED', 3)
    spoil(photos, '02', '04', '07', '08')
    data = FolderDataset(str(photos), pipeline=LOAD)
    with pytest.raises(RuntimeError, match=r'\.png.*\n  \.\.\. and 1 more'):
        run(data, 0)


def test_prepare_data__escapes_odd_names(photos, logged):
    """A newline in a name must not forge a line of the log."""
    folder = os.fsencode(photos)
    odd = (b'a\nforged \x1b[2J.png', b'\xff.png')
    for name in odd:
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(b'no image')
    data = FolderDataset(str(photos), pipeline=LOAD)
    run(data, 0, epochs=1)
    lines = logged()
    assert len(lines) == len(data.unreadable_files()) == 2
    for shown in (r'a\nforged \x1b[2J.png', r'\udcff.png'):
        assert sum(shown in line for line in lines) == 1
        assert sum(shown in name for name in data.unreadable_files()) == 1
    data.max_unreadable = 0
    bad = int(np.flatnonzero(data.unreadable_flags)[0])
    with pytest.raises(RuntimeError, match='more than 0 of 13') as caught:
        data[bad]
    assert str(caught.value).encode().count(b'\n') == 2
    data.test_mode = True
    for index in np.flatnonzero(data.unreadable_flags):
        with pytest.raises(UnreadableImageError) as refused:
            data.prepare_data(int(index))
        assert b'\n' not in str(refused.value).encode()


def test_allowed_unreadable__is_none_for_a_share_of_zero(photos):
    spoil(photos, '04')
    data = FolderDataset(str(photos), pipeline=LOAD, max_unreadable=0)
    assert data.allowed_unreadable == 0
    with pytest.raises(RuntimeError, match='more than 0 of 11'):
        run(data, 0)


def test_init__refuses_a_percentage(photos):
    with pytest.raises(ValueError, match='fraction from 0 to 1, got 5'):
        FolderDataset(str(photos), max_unreadable=5)


def test_prepare_data__replaces_nothing_in_a_test(photos):
    spoil(photos, '00')
    data = FolderDataset(str(photos), pipeline=LOAD, test_mode=True)
    with pytest.raises(UnreadableImageError, match=r'00\.png'):
        data[0]
    assert data.num_unreadable == 0
