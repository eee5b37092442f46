# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What is wrong with a COCO-format JSON is said before a training."""

import copy
import json

import pytest
from PIL import Image

from mmcae.config.check import ConfigError
from mmcae.datasets.coco_json import CocoSummary, check_coco, coco_summary

GOOD = dict(
    images=[dict(id=3, file_name='a/b.jpg', width=8, height=6)],
    categories=[dict(id=7, name='cat'), dict(id=2, name='dog')],
    annotations=[
        dict(
            id=1,
            image_id=3,
            category_id=7,
            bbox=[1, 1, 3, 3],
            area=4.5,
            segmentation=[[1, 1, 4, 1, 4, 4]],
        )
    ],
)


@pytest.fixture
def written(tmp_path):
    """Write a JSON that `change` has changed."""

    def write(change=lambda content: None):
        content = copy.deepcopy(GOOD)
        change(content)
        path = tmp_path / 'train.json'
        path.write_text(json.dumps(content))
        (tmp_path / 'a').mkdir(exist_ok=True)
        Image.new('RGB', (8, 6)).save(tmp_path / 'a/b.jpg')
        return path

    return write


def test_summary__has_the_categories_in_the_order_of_the_file(written):
    assert coco_summary(written()) == CocoSummary(('cat', 'dog'), True)
    path = written(lambda c: c['annotations'][0].pop('segmentation'))
    assert coco_summary(path) == CocoSummary(('cat', 'dog'), False)


def test_summary__of_no_file(tmp_path):
    assert coco_summary(tmp_path / 'x', missing_ok=True).classes == ('object',)
    with pytest.raises(ConfigError, match='there is no file'):
        coco_summary(tmp_path / 'x')


def test_check__accepts_what_is_right(written, tmp_path):
    check_coco(written(), tmp_path, ('cat', 'dog'), with_masks=True)


WRONG = {
    'has no annotations': lambda c: c.pop('annotations'),
    'has no images': lambda c: c.update(images=[]),
    'annotation 1 in .*json has the category 9, and the categories are '
    '7 = cat, 2 = dog': lambda c: c['annotations'][0].update(category_id=9),
    'has the image 4, which is not among its 1 images': (
        lambda c: c['annotations'][0].update(image_id=4)
    ),
    'has no bbox of four numbers, but None': (
        lambda c: c['annotations'][0].pop('bbox')
    ),
    'has no area': lambda c: c['annotations'][0].pop('area'),
    'has no segmentation, and other': (
        lambda c: c['annotations'][0].update(segmentation=[])
    ),
    'an image in .* has no width': lambda c: c['images'][0].pop('width'),
    '1 of 1 images of .* are not in .*, the first is c.jpg': (
        lambda c: c['images'][0].update(file_name='c.jpg')
    ),
    "has no category 'dog', which is one of": (
        lambda c: c['categories'].pop()
    ),
    "has the category 'cow', which is none of": (
        lambda c: c['categories'].append(dict(id=9, name='cow'))
    ),
    'lists its categories in another order': (
        lambda c: c['categories'].reverse()
    ),
    "has the category 'cat' twice": (
        lambda c: c['categories'].append(dict(id=9, name='cat'))
    ),
}


@pytest.mark.parametrize('sentence', WRONG)
def test_check__names_what_is_wrong(sentence, written, tmp_path):
    path = written(WRONG[sentence])
    with pytest.raises(ConfigError, match=sentence) as error:
        check_coco(path, tmp_path, ('cat', 'dog'), with_masks=True)
    assert 'train.json' in str(error.value)


def test_check__no_folder_and_no_json(written, tmp_path):
    with pytest.raises(ConfigError, match='there is no folder'):
        check_coco(written(), tmp_path / 'none', ('cat', 'dog'))
    (tmp_path / 'train.json').write_text('{"images"')
    with pytest.raises(ConfigError, match=r'train\.json is no JSON'):
        coco_summary(tmp_path / 'train.json')


def test_dataset__is_checked_when_it_is_built(written, tmp_path):
    pytest.importorskip('mmdet')
    from mmcae.datasets.own_coco import OwnCocoDataset

    def build():
        return OwnCocoDataset(
            ann_file='train.json',
            data_root=str(tmp_path),
            data_prefix=dict(img=''),
            metainfo=dict(classes=('cat', 'dog')),
            pipeline=[],
        )

    written()
    (instance,) = build()[0]['instances']
    assert instance['bbox_label'] == 0  # the first class, cat
    written(WRONG['has the image 4, which is not among its 1 images'])
    with pytest.raises(ConfigError, match='has the image 4'):
        build()
