# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Batches of all packages survive the way through a file."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample

from mmcae.checkpoint.reading import read_checkpoint
from mmcae.engine.bad_batch import files_of
from mmcae.engine.plain_batch import from_plain, to_plain


def through_a_file(batch, folder):
    path = folder / 'batch.pth'
    torch.save({'batch': to_plain(batch)}, path)
    return from_plain(read_checkpoint(path)['batch'])


def test_classification__survives(tmp_path):
    sample = DataSample(metainfo=dict(img_path='a.png', ori_shape=(3, 4)))
    sample.set_gt_label(3)
    sample.set_field(torch.tensor([True, False]), 'mask')
    batch = dict(inputs=[torch.rand(2, 3)], data_samples=[sample])
    (found,) = through_a_file(batch, tmp_path)['data_samples']
    assert type(found) is DataSample
    assert found.metainfo == sample.metainfo
    assert torch.equal(found.gt_label, sample.gt_label)
    assert torch.equal(found.mask, sample.mask)
    assert [*files_of(batch)] == ['a.png']


def test_segmentation__survives(tmp_path):
    structures = pytest.importorskip('mmseg.structures')
    sample = structures.SegDataSample(metainfo=dict(img_path='a.png'))
    sample.gt_sem_seg = PixelData(data=torch.arange(6).view(1, 2, 3))
    batch = dict(inputs=[torch.zeros(3, 2, 3)], data_samples=[sample])
    (found,) = through_a_file(batch, tmp_path)['data_samples']
    assert type(found) is structures.SegDataSample
    assert torch.equal(found.gt_sem_seg.data, sample.gt_sem_seg.data)


def test_detection__survives(tmp_path):
    structures = pytest.importorskip('mmdet.structures')
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    bitmaps = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) % 2
    polygon = [[np.array([0.0, 0.0, 2.0, 0.0, 2.0, 2.0])]]
    for masks in (BitmapMasks(bitmaps, 3, 4), PolygonMasks(polygon, 3, 4)):
        sample = structures.DetDataSample(
            metainfo=dict(
                img_path='a.png',
                scale_factor=(0.5, 0.5),
                homography_matrix=np.eye(3),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=HorizontalBoxes(torch.tensor([[0.0, 0.0, 2.0, 2.0]])),
            labels=torch.tensor([1]),
            masks=masks,
        )
        batch = dict(inputs=[torch.zeros(3, 3, 4)], data_samples=[sample])
        (found,) = through_a_file(batch, tmp_path)['data_samples']
        assert type(found) is structures.DetDataSample
        assert found.img_path == 'a.png'
        assert found.scale_factor == (0.5, 0.5)
        assert np.array_equal(found.homography_matrix, np.eye(3))
        instances = found.gt_instances
        boxes = sample.gt_instances.bboxes
        assert type(instances.bboxes) is type(boxes)
        assert torch.equal(instances.bboxes.tensor, boxes.tensor)
        assert torch.equal(instances.labels, sample.gt_instances.labels)
        assert type(instances.masks) is type(masks)
        both = instances.masks.to_ndarray(), masks.to_ndarray()
        assert np.array_equal(*both)


def test_from_plain__makes_no_other_class():
    for name in ('os.system', 'mmengine.structures.x.Popen', 'subprocess'):
        with pytest.raises(ValueError, match='an object of the class'):
            from_plain({'__class__': name, 'data': {}, 'meta': {}})
