# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A folder of images and a folder of masks."""

import numpy as np
import pytest
from PIL import Image

from mmcae.config.check import ConfigError
from mmcae.datasets.mask_folder import MaskFolderDataset, held_out, palette

CLASSES = ('soil', 'leaf', 'fruit')


def write(root, name, values=(0, 1, 2), size=(6, 4), mode='L', suffix='.jpg'):
    """An image, and a mask with some values."""
    image = root / 'images' / f'{name}{suffix}'
    mask = root / 'masks' / f'{name}.png'
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (6, 4), 'green').save(image)
    labels = np.zeros(size[::-1], np.uint8)
    labels.flat[: len(values)] = values
    Image.fromarray(labels).convert(mode).save(mask)
    return mask


@pytest.fixture
def root(tmp_path):
    for number in range(10):
        suffix = '.jpg' if number % 2 else '.JPEG'
        write(tmp_path, f'plot{number % 3}/{number}', suffix=suffix)
    return tmp_path


def dataset(root, classes=CLASSES, **options):
    return MaskFolderDataset(
        classes, data_root=str(root), pipeline=[], **options
    )


def refusal(root, **options):
    with pytest.raises(ConfigError) as error:
        dataset(root, **options)
    return str(error.value)


def test_parts__are_drawn_once_and_complete(root):
    parts = [
        {dataset(root, part=part)[i]['img_path'] for i in range(count)}
        for part, count in (('train', 8), ('val', 2))
    ]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 10
    other = dataset(root, part='val', split_seed=1)
    assert {other[i]['img_path'] for i in range(2)} != parts[1]


def test_parts__are_the_users_subfolders(tmp_path):
    for name in ('training/a', 'training/b/c', 'validation/d'):
        write(tmp_path, name)
    assert len(dataset(tmp_path, part='train')) == 2
    (sample,) = dataset(tmp_path, part='val')
    assert sample['seg_map_path'].endswith('masks/validation/d.png')


def test_held_out__is_never_none_or_all():
    for count in (2, 3, 10):
        for share in (0.01, 0.5, 0.99):
            assert 0 < held_out(count, share, 0).sum() < count


def test_masks__missing(root):
    (root / 'masks/plot1/4.png').unlink()
    message = refusal(root, part='train', val_share=0.1)
    assert '1 of 9 images have no mask' in message
    assert message.endswith('masks/plot1/4.png')


def test_masks__of_another_size(root):
    write(root, 'plot0/3', size=(4, 6))
    for part in ('train', 'val'):
        if '3.jpg' in str([s['img_path'] for s in paths(root, part)]):
            message = refusal(root, part=part)
    assert 'masks/plot0/3.png has 4 x 6 pixels, and its image 6 x 4' in message


def paths(root, part):
    """The samples of a part without a check."""
    names = MaskFolderDataset.__new__(MaskFolderDataset)
    names.part, names.val_share, names.split_seed = part, 0.2, 0
    found = names._names_of_part(root / 'images')
    return [dict(img_path=name) for name in found]


def both(root, **options):
    """The refusal of one of the parts."""
    for part in ('train', 'val'):
        try:
            dataset(root, part=part, **options)
        except ConfigError as error:
            return str(error)
    raise AssertionError('nothing was refused')


def test_masks__in_colors(root):
    write(root, 'plot2/5', mode='RGB')
    message = both(root)
    assert 'masks/plot2/5.png has the mode RGB: a mask has one ch' in message


def test_masks__with_a_value_that_no_class_has(root):
    write(root, 'plot2/5', values=(0, 1, 7, 255))
    message = both(root)
    assert 'masks/plot2/5.png has the value 7' in message
    assert '0 = soil, 1 = leaf, 2 = fruit' in message
    # Where 0 means not labeled, the classes reach one further.
    write(root, 'plot2/5', values=(0, 3))
    assert 'has the value 3' in both(root)
    dataset(root, part='train', zero_is_unlabeled=True)
    dataset(root, part='val', zero_is_unlabeled=True)


def test_masks__of_black_and_white_have_one_class(tmp_path):
    """White, 255, means not labeled: everything else is background."""
    for number in range(4):
        write(tmp_path, str(number), values=(0, 255))
    message = refusal(tmp_path)
    assert 'every labeled pixel has the value 0' in message


def test_masks__palettes_are_indices(tmp_path):
    for number in range(4):
        mask = write(tmp_path, str(number))
        labels = Image.open(mask)
        labels.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
        labels.save(mask)
        assert Image.open(mask).mode == 'P'
    assert len(dataset(tmp_path)) == 3


def test_masks__that_are_no_image(root):
    (root / 'masks/plot2/5.png').write_bytes(b'no image')
    assert 'plot2/5.png cannot be read' in both(root)


def test_folders__missing_or_nearly_empty(tmp_path):
    assert 'there is no folder' in refusal(tmp_path)
    write(tmp_path, 'a')
    assert 'has 1 images: at least two' in refusal(tmp_path)


def test_arguments__are_checked(root):
    for options in (dict(part='test'), dict(val_share=1.0)):
        with pytest.raises(ValueError, match=r'part must be|is a share'):
            dataset(root, **options)


def test_palette__has_different_colors():
    for count in (1, 2, 20, 150):
        colors = palette(count)
        assert len({tuple(color) for color in colors}) == count


def test_sample__has_the_mask_of_mmsegmentation(root):
    pytest.importorskip('mmseg')
    from mmengine.registry import DefaultScope

    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', reduce_zero_label=True),
        dict(type='PackSegInputs'),
    ]
    with DefaultScope.overwrite_default_scope('mmseg'):
        made = MaskFolderDataset(
            CLASSES,
            data_root=str(root),
            pipeline=pipeline,
            zero_is_unlabeled=True,
        )
        labels = made[0]['data_samples'].gt_sem_seg.data
    assert set(labels.unique().tolist()) == {0, 1, 255}
    assert made.metainfo['classes'] == CLASSES
