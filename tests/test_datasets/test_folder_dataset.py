# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
import pickle

import numpy as np
import pytest
from PIL import Image

from mmcae.datasets import FolderDataset, ImageNet
from mmcae.registry import DATASETS

LOAD = [dict(type='mmcae.LoadImage')]


def names(data):
    return [
        data.get_data_info(i)['img_path'].rsplit('/', 1)[1]
        for i in range(len(data))
    ]


def test_load_data_list__is_recursive_and_sorted(photos):
    (photos / 'notes.txt').write_text('no image')
    (photos / 'part0' / 'x.JPEG').write_bytes(b'')
    (photos / 'part0' / '._x.jpg').write_bytes(b'')
    (photos / '.hidden').mkdir()
    (photos / '.hidden' / 'y.png').write_bytes(b'')
    data = DATASETS.build(
        dict(type='mmcae.FolderDataset', data_root=str(photos))
    )
    found = names(data)
    assert len(found) == 12
    assert found[:5] == ['00.png', '03.png', '06.png', '09.png', 'x.JPEG']
    assert 'FolderDataset' in repr(data)


def test_load_data_list__follows_links_once(photos):
    (photos / 'part0' / 'up').symlink_to(photos)
    (photos / 'part1' / 'same').symlink_to(photos / 'part2')
    outside = photos.parent / 'outside'
    outside.mkdir()
    (outside / 'z.png').write_bytes(b'')
    (photos / 'link').symlink_to(outside)
    found = names(FolderDataset(str(photos)))
    assert len(found) == 12
    assert 'z.png' in found


def test_load_data_list__takes_a_prefix_and_extensions(photos):
    assert len(FolderDataset(str(photos), 'part1')) == 4
    assert len(FolderDataset(data_prefix=str(photos / 'part1'))) == 4
    with pytest.raises(ValueError, match=r'part1 or its sub.* are \.webp'):
        FolderDataset(str(photos), 'part1', extensions='.WEBP')


def test_load_data_list__names_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere is not a folder'):
        FolderDataset(str(tmp_path / 'nowhere'))
    with pytest.raises(ValueError, match='data_root'):
        FolderDataset()


def test_load_data_list__names_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r'no image in .*\.jpg'):
        FolderDataset(str(tmp_path))


@pytest.mark.parametrize('copied', [False, True])
def test_getitem__reads_the_cache(photos, monkeypatch, copied):
    plain = FolderDataset(str(photos), pipeline=LOAD)
    cached = FolderDataset(str(photos), pipeline=LOAD, cache=True)
    if copied:
        cached = pickle.loads(pickle.dumps(cached))
    expected = [plain[i]['img'] for i in range(11)]
    monkeypatch.setattr(Image, 'open', None)
    for i, img in enumerate(expected):
        found = cached[i]['img']
        assert np.array_equal(found, img)
        found[:] = 0  # must not reach the cache
        assert np.array_equal(cached[i]['img'], img)


def test_init__gives_up_on_a_huge_cache(photos):
    with pytest.raises(ValueError, match=r'more than 20,000 bytes .*cache'):
        FolderDataset(
            str(photos), pipeline=LOAD, cache=True, max_cache_bytes=20_000
        )


def test_get_subset__keeps_the_cache(photos):
    data = FolderDataset(str(photos), pipeline=LOAD, cache=True)
    subset = data.get_subset([3, 5])
    assert subset.cache is data.cache
    assert np.array_equal(subset[1]['img'], data[5]['img'])
    assert len(subset.unreadable_flags) == 2


def test_imagenet__has_mmpretrains_layout(photos, tmp_path):
    (tmp_path / 'train').symlink_to(photos)
    data = DATASETS.build(
        dict(
            type='mmcae.ImageNet',
            data_root=str(tmp_path),
            split='train',
            metainfo=dict(classes=['a', 'b', 'c']),
            pipeline=LOAD,
        )
    )
    assert len(data) == 11
    assert [data[i]['gt_label'] for i in (0, 4, 10)] == [0, 1, 2]
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta' / 'train.txt').write_text('part1/deep/01.png 7\n')
    data = ImageNet(data_root=str(tmp_path), split='train', pipeline=LOAD)
    assert len(data) == 1
    assert data[0]['gt_label'] == 7


def test_imagenet__names_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='train is not a folder'):
        ImageNet(data_root=str(tmp_path), split='train')


def test_list_file__names_the_images(photos, tmp_path):
    chosen = tmp_path / 'chosen.txt'
    chosen.write_text(
        f'# two\npart0/deep/03.png\n\n{photos}/part1/deep/01.png\n'
    )
    data = FolderDataset(str(photos), list_file=str(chosen))
    assert names(data) == ['03.png', '01.png']
    # Without a folder, paths start from the file's own.
    beside = photos / 'list.txt'
    beside.write_text('part0/deep/03.png\n')
    assert names(FolderDataset(list_file=str(beside))) == ['03.png']
    beside.write_text('\n')
    with pytest.raises(ValueError, match=r'list\.txt names no image'):
        FolderDataset(list_file=str(beside))


def test_cache_side__reduces_only_larger_images(tmp_path):
    for name, size in (('a', (80, 40)), ('b', (12, 10))):
        Image.new('RGB', size, (10, 20, 30)).save(tmp_path / f'{name}.png')
    data = FolderDataset(
        str(tmp_path), pipeline=LOAD, cache=True, cache_side=20
    )
    assert [data[i]['img'].shape for i in range(2)] == [
        (20, 40, 3),
        (10, 12, 3),
    ]
    assert (data[0]['img'] == (30, 20, 10)).all()
