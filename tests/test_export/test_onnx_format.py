# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""ONNX files give the original's outputs in onnxruntime."""

import json

import pytest
import torch
from helpers.recordings import relative_error
from helpers.trained import CLASSES, write_checkpoint

from mmcae.export import export

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytestmark = pytest.mark.slow

SHAPES = [(1, 3, 64, 64), (3, 3, 64, 64), (2, 3, 70, 96)]


@pytest.mark.parametrize('kind', ['pretrain', 'finetune', 'attentive'])
def test_onnx__all_sizes(kind, tmp_path):
    path, model = write_checkpoint(kind, tmp_path)
    target = tmp_path / 'model.onnx'
    done = export(path, 'onnx', target)
    assert done.comparison.worst < 1e-5
    session = onnxruntime.InferenceSession(target)
    assert session.get_inputs()[0].shape == ['batch', 3, 'height', 'width']
    for shape in SHAPES:
        images = torch.randn(shape)
        found = session.run(None, {'images': images.numpy()})
        with torch.no_grad():
            if kind == 'pretrain':
                expected = model.extract_feat(images)[-1][:, 1:]
                value = torch.from_numpy(found[1])
            else:
                expected = model(images)
                value = torch.from_numpy(found[0])
        assert relative_error(value, expected) < 1e-5
    meta = session.get_modelmeta().custom_metadata_map
    assert len(meta['source_sha256']) == 64
    assert json.loads(meta['normalization'])['std'] == [0.35] * 3
    if kind != 'pretrain':
        assert json.loads(meta['classes']) == CLASSES


@pytest.mark.parametrize('precision', ['float16', 'int8'])
def test_onnx__fewer_bits_are_smaller_and_close(precision, tmp_path):
    path, model = write_checkpoint('finetune', tmp_path)
    done = export(path, 'onnx', tmp_path / 'small.onnx', precision=precision)
    assert 1e-6 < done.comparison.worst < 0.1
    assert done.metadata['precision'] == precision
    session = onnxruntime.InferenceSession(tmp_path / 'small.onnx')
    images = torch.randn(2, 3, 64, 64)
    found = session.run(None, {'images': images.numpy()})
    with torch.no_grad():
        error = relative_error(torch.from_numpy(found[0]), model(images))
    assert error < 0.2


def test_onnx__one_size_with_windows(tmp_path):
    path, model = write_checkpoint(
        'finetune', tmp_path, window_size=3, global_indices=[1]
    )
    export(path, 'onnx', tmp_path / 'model.onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    assert session.get_inputs()[0].shape == ['batch', 3, 64, 64]
    images = torch.randn(3, 3, 64, 64)
    (found,) = session.run(None, {'images': images.numpy()})
    with torch.no_grad():
        expected = model(images)
    assert relative_error(torch.from_numpy(found), expected) < 1e-5
