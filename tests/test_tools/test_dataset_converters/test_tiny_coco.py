# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the small detection dataset: layout, boxes, masks and errors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.scripts import load_script
from PIL import Image

from mmcae.config.search_path import resource_root

coco_api = pytest.importorskip('pycocotools.coco')
tiny_coco = load_script('tools/dataset_converters/tiny_coco.py')
WRITER = resource_root() / 'tools' / 'dataset_converters' / 'tiny_coco.py'
CLASSES = ('three', 'eight')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tiny_coco')
    tiny_coco.write_tiny_coco(
        folder, train=12, val=4, digits=(3, 8), size=(80, 130)
    )
    return folder


def read(root, split):
    path = root / 'annotations' / f'instances_{split}2017.json'
    return coco_api.COCO(str(path)), root / f'{split}2017'


@pytest.mark.parametrize(('split', 'count'), [('train', 12), ('val', 4)])
def test_write__layout_of_coco(root, split, count):
    coco, folder = read(root, split)
    assert [item['name'] for item in coco.cats.values()] == list(CLASSES)
    assert len(coco.imgs) == count
    assert {item['file_name'] for item in coco.imgs.values()} == {
        path.name for path in folder.iterdir()
    }
    for item in coco.imgs.values():
        with Image.open(folder / item['file_name']) as image:
            assert image.size == (item['width'], item['height']) == (130, 80)
        assert 1 <= len(coco.getAnnIds(item['id'])) <= 2
    assert len({item['category_id'] for item in coco.anns.values()}) == 2


def test_write__boxes_bound_the_masks(root):
    coco, _ = read(root, 'train')
    for item in coco.anns.values():
        mask = coco.annToMask(item)
        left, top, width, height = item['bbox']
        assert mask.sum() == item['area'] > 50
        inside = mask[top : top + height, left : left + width]
        assert inside.sum() == item['area']
        for border in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert border.any()
        assert 15 <= height <= 60


def test_write__masks_are_the_strokes(root):
    """The image has one color inside a mask, and several around it."""
    coco, folder = read(root, 'train')
    inside, outside = [], []
    for item in coco.anns.values():
        name = coco.imgs[item['image_id']]['file_name']
        image = np.asarray(Image.open(folder / name)).astype(float)
        mask = coco.annToMask(item).astype(bool)
        stroke = image[mask].mean(0)
        inside.append(np.abs(image[mask] - stroke).mean())
        left, top, width, height = item['bbox']
        view = np.s_[top : top + height, left : left + width]
        around = image[view][~mask[view]]
        outside.append(np.abs(around - stroke).mean())
    assert np.mean(outside) > 2 * np.mean(inside)


@pytest.mark.parametrize('name', ['empty', 'full', 'corner', 'random'])
def test_run_lengths__decode_to_the_mask(name):
    from pycocotools import mask as codes

    mask = np.zeros((5, 7), bool)
    if name == 'full':
        mask[:] = True
    elif name == 'corner':
        mask[0, 0] = mask[-1, -1] = True
    elif name == 'random':
        mask = np.random.default_rng(0).random(mask.shape) > 0.5
    code = dict(size=[5, 7], counts=tiny_coco.run_lengths(mask))
    assert sum(code['counts']) == mask.size
    decoded = codes.decode(codes.frPyObjects(code, 5, 7))
    assert np.array_equal(decoded.astype(bool), mask)


def test_metric__ground_truth_has_the_full_score(root):
    """mmdetection reads the dataset with its masks."""
    pytest.importorskip('mmdet.models')
    import torch
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    annotations = 'annotations/instances_val2017.json'
    dataset = CocoDataset(
        data_root=str(root),
        ann_file=annotations,
        data_prefix=dict(img='val2017/'),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs'),
        ],
    )
    assert len(dataset) == 4
    metric = CocoMetric(
        ann_file=str(root / annotations), metric=['bbox', 'segm']
    )
    metric.dataset_meta = dataset.metainfo
    for sample in map(dataset.__getitem__, range(len(dataset))):
        truth = sample['data_samples'].gt_instances
        prediction = dict(
            bboxes=truth.bboxes.tensor,
            scores=torch.ones(len(truth)),
            labels=truth.labels,
            masks=torch.from_numpy(truth.masks.masks).bool(),
        )
        meta = sample['data_samples'].metainfo
        metric.process({}, [dict(meta, pred_instances=prediction)])
    scores = metric.evaluate(len(dataset))
    assert scores['coco/bbox_mAP'] == 1.0
    assert scores['coco/segm_mAP'] == 1.0


def test_write__is_the_same_for_a_seed(tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        tiny_coco.write_tiny_coco(tmp_path / name, train=3, val=1, seed=seed)
    first, again, other = (
        {
            path.name: path.read_bytes()
            for path in (tmp_path / name).rglob('*.*')
        }
        for name in 'abc'
    )
    assert first == again
    assert first.keys() == other.keys()
    assert not any(first[name] == other[name] for name in first)


def test_write__refuses_impossible_options(tmp_path, subtests):
    for options, words in (
        (dict(digits=(1, 10)), 'from 0 to 9'),
        (dict(digits=()), 'from 0 to 9'),
        (dict(digit_sizes=(40, 97)), 'do not fit into 96 x 128'),
        (dict(digit_sizes=(50, 40)), 'and then the largest'),
        (dict(max_per_image=0), 'max_per_image=0 must be positive'),
        (dict(size=(96, 400)), 'room for at most 427 x 160'),
    ):
        with subtests.test(**options):
            with pytest.raises(ValueError, match=words):
                tiny_coco.write_tiny_coco(tmp_path, **options)
            assert not list(tmp_path.iterdir())


def test_command__keeps_existing_images(tmp_path):
    command = [sys.executable, str(WRITER), str(tmp_path), '--train', '2']
    command += ['--val', '1']
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.stdout == f'2 + 1 images in {tmp_path}\n'
    path = tmp_path / 'annotations' / 'instances_train2017.json'
    before = json.loads(path.read_text())
    again = subprocess.run(
        [*command, '--seed', '5'], capture_output=True, text=True
    )
    assert again.returncode == 2
    assert 'has images already' in again.stderr
    assert json.loads(path.read_text()) == before
