# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The authors' repository is imported where its packages are missing."""

import subprocess
import sys

import pytest
import torch
from speed.stand_ins import _StandIn, stand_ins
from speed_tools import OFFICIAL_LIKE, TOOLS

IMPORTED = 'models', 'furnace', 'dall_e'
# The first of these lines hide packages, as if nobody had installed them.
# mmpretrain needs some of them, if transformers is there: it comes first.
BARE = """
import importlib.abc, sys
import mmcae.models

for name in list(sys.modules):
    if name.split('.')[0] in {hidden!r}:
        del sys.modules[name]

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {hidden!r}:
            raise ModuleNotFoundError('hidden: ' + name, name=name)

sys.meta_path.insert(0, Hide())
sys.path.insert(0, {tools!r})

from pathlib import Path
import torch
from speed.batches import make_batch
from speed.lineup import build_lineup
from speed.sizes import load_size

before = set(sys.modules)
size, cpu = load_size('tiny'), torch.device('cpu')
lineup = build_lineup(size, 'fp32', cpu, official=Path({repository!r}))
batch = make_batch(size, 2, cpu)
ours, official = (
    lineup[name].loss(batch).item() for name in ('mmcae', 'official')
)
assert abs(official / ours - 1) < 1e-6, (ours, official)
lineup['official'].step(batch)
left = sorted(
    name
    for name in set(sys.modules) - before
    if name.split('.')[0] in {hidden!r} or name == 'torch._six'
)
assert not left, left
assert not hasattr(torch, '_six')
print('measured')
"""


@pytest.fixture
def forget():
    """Forget the modules of the repository after the test."""
    yield
    for name in list(sys.modules):
        if name.split('.')[0] in IMPORTED:
            del sys.modules[name]


@pytest.mark.parametrize(
    'hidden',
    [
        ('requests', 'attr', 'attrs', 'tensorboardX'),
        ('requests', 'attr', 'attrs', 'tensorboardX', 'timm'),
    ],
    ids=['with timm', 'without timm'],
)
def test_official__measured_in_a_bare_environment(hidden):
    code = BARE.format(
        hidden=hidden, tools=str(TOOLS), repository=str(OFFICIAL_LIKE)
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.endswith('measured\n')


def test_stand_ins__only_for_missing_modules_and_only_within(monkeypatch):
    # None in sys.modules makes an import fail, as a missing module does.
    for name in ('requests', 'attr'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, 'requests', None)
    with stand_ins() as missing:
        assert 'requests' in missing
        assert 'torch._six' in missing
        import requests
        from torch._six import inf

        assert inf == float('inf')
        assert isinstance(requests, _StandIn)
        with pytest.raises(ModuleNotFoundError, match=r'requests\.get'):
            requests.get('anything')
        assert not hasattr(requests, '__path__')
    assert 'requests' not in sys.modules
    assert 'torch._six' not in sys.modules


def test_stand_ins__removed_when_the_import_fails():
    with pytest.raises(SyntaxError), stand_ins():
        raise SyntaxError
    assert 'torch._six' not in sys.modules


def test_attr__makes_constructors_of_modules(monkeypatch, forget):
    monkeypatch.setitem(sys.modules, 'attr', None)
    monkeypatch.syspath_prepend(str(OFFICIAL_LIKE))
    with stand_ins():
        from dall_e.encoder import Encoder
    encoder = Encoder(3, n_hid=5)
    assert encoder(torch.zeros(1, 3, 2, 2)).shape == (1, 5, 2, 2)
    assert Encoder.group_count == 4
    assert Encoder(n_in=1).n_hid == 2
    with pytest.raises(TypeError, match='n_in'):
        Encoder()
    with pytest.raises(TypeError, match='typo'):
        Encoder(3, typo=1)
