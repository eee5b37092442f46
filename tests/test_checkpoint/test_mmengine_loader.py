# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every load of an mmengine process goes through mmcae's reader."""

import collections
import os
import types

import pytest
import torch
from helpers.corpus.code import Call
from helpers.web_server import web_server
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn

from mmcae.checkpoint.mmengine_loader import register_safe_loader
from mmcae.checkpoint.reading import UnsafeCheckpointError


@pytest.fixture
def loader():
    """Register mmcae's loader; afterwards restore mmengine's."""
    schemes = dict(CheckpointLoader._schemes)
    former = {
        name: getattr(mmengine_checkpoint, name)
        for name in ('_safe_torch_load', 'load_from_http')
    }
    register_safe_loader()
    yield CheckpointLoader
    CheckpointLoader._schemes = collections.OrderedDict(
        sorted(schemes.items(), reverse=True)
    )
    for name, function in former.items():
        setattr(mmengine_checkpoint, name, function)


@pytest.fixture
def server(tmp_path, monkeypatch):
    with web_server(tmp_path, monkeypatch) as running:
        yield running


def test_loader__serves_every_entry_point(
    loader, tmp_path, server, monkeypatch
):
    sentinel = tmp_path / 'executed'
    bad = tmp_path / 'bad.pth'
    torch.save({'state_dict': Call(os.system, f'touch {sentinel}')}, bad)
    url = server.publish('bad.pth', bad.read_bytes())
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_external_models', lambda: {'x': url}
    )
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_torchvision_models', lambda: {'x': url}
    )
    model = nn.Linear(1, 1)
    schemes = ('open-mmlab', 'openmmlab', 'torchvision')
    for place in (str(bad), url, *(f'{scheme}://x' for scheme in schemes)):
        with pytest.raises(UnsafeCheckpointError):
            mmengine_checkpoint.load_checkpoint(model, place)
    monkeypatch.setattr(
        mmengine_checkpoint,
        'get_file_backend',
        lambda *_, **__: types.SimpleNamespace(get=lambda _: bad.read_bytes()),
    )
    with pytest.raises(UnsafeCheckpointError):
        mmengine_checkpoint.load_checkpoint(model, 's3://bucket/x.pth')
    assert not sentinel.exists()


def test_loader__loads_good_files(loader, tmp_path, server):
    weights = nn.Linear(2, 2).state_dict()
    path = tmp_path / 'good.pth'
    torch.save({'state_dict': weights}, path)
    url = server.publish('good.pth', path.read_bytes())
    for place in (str(path), url):
        model = nn.Linear(2, 2)
        mmengine_checkpoint.load_checkpoint(model, place, strict=True)
        assert torch.equal(model.weight, weights['weight'])
    assert (server.cache / 'good.pth').read_bytes() == path.read_bytes()
    assert [p.name for p in server.cache.iterdir()] == ['good.pth']
    server.pages.clear()  # the second time it comes from the cache
    loader.load_checkpoint(url, 'cpu')
