# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A kept batch is repeated bit by bit, and nothing of it is executed."""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from helpers.bad_batches import (
    SMALL,
    Poison,
    PoisonGradient,
    fresh,
    recipe,
    train,
)

from mmcae.checkpoint.reading import UnsafeCheckpointError, read_checkpoint
from mmcae.engine.optimizers import clip
from mmcae.engine.replay import replay, same_bits
from mmcae.launch.runner import build_runner

BAD = 2
TOOL = Path(__file__).parents[2] / 'tools/analysis_tools/replay.py'


def kept(photos, work_dir, kind, poison=Poison, change=lambda cfg: None):
    """Train with a bad batch; return its files and its folder."""
    fresh()
    cfg = recipe(kind, photos, work_dir)
    change(cfg)
    steps, _, _ = train(build_runner(cfg), poison([BAD]))
    fresh()
    return steps.files[BAD], work_dir / f'non_finite/iter_{BAD + 1}'


def tool(monkeypatch, *words):
    """Run the tool; return its exit status."""
    spec = spec_from_file_location('replay_tool', TOOL)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', ['replay.py', *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        module.main()
    return ended.value.code


@pytest.mark.parametrize('kind', ['cae', 'tokenizer', 'finetune', 'sweep'])
def test_replay__repeats_every_training_bit_by_bit(
    class_photos, tmp_path, kind
):
    files, folder = kept(class_photos, tmp_path, kind)
    torch.manual_seed(77)  # not the state of the run
    result = replay(folder)
    assert result.iteration == BAD + 1
    assert result.files == files
    assert result.is_equal
    assert torch.as_tensor(result.recorded['loss']).isnan()
    assert result.module is not None
    assert not result.fed  # the images are NaN
    assert result.parameters
    assert same_bits(*result.norms)


def test_replay__repeats_a_finite_loss_with_its_random_numbers(
    class_photos, tmp_path
):
    def change(cfg):
        cfg.model.backbone.drop_path_rate = 0.5
        cfg.model.backbone.arch = dict(SMALL, num_layers=2)
        cfg.model.update(target_encoder='copy', base_momentum=0.5)

    _, folder = kept(class_photos, tmp_path, 'cae', PoisonGradient, change)
    result = replay(folder)
    assert result.is_equal
    assert torch.as_tensor(result.recorded['loss']).isfinite()
    assert result.module is None
    file = folder / 'batch_rank_0.pth'
    content = read_checkpoint(file)
    content['random_state']['torch'] = torch.get_rng_state()
    torch.save(content, file)
    assert not replay(folder).is_equal


def test_replay__has_the_weights_of_an_iteration_on_a_device(
    class_photos, tmp_path, monkeypatch
):
    # It is judged one iteration later, when buffers have changed again.
    monkeypatch.setattr(clip, 'is_free_to_read', lambda value: False)
    _, folder = kept(class_photos, tmp_path, 'sweep', PoisonGradient)
    assert replay(folder).is_equal


def test_tool__reports_and_compares(
    class_photos, tmp_path, monkeypatch, capsys
):
    files, folder = kept(class_photos, tmp_path, 'finetune')
    assert tool(monkeypatch, folder) == 0
    text = capsys.readouterr().out
    assert 'The losses are equal bit by bit.' in text
    assert 'First output that is not finite: data_preprocessor' in text
    assert 'its inputs are not finite either' in text
    assert all(file in text for file in files)
    file = folder / 'batch_rank_0.pth'
    content = read_checkpoint(file)
    content['terms']['loss'] = torch.tensor(1.0)
    torch.save(content, file)
    assert tool(monkeypatch, folder) == 1
    assert 'NOT equal' in capsys.readouterr().out


def test_replay__names_the_operation(class_photos, tmp_path):
    _, folder = kept(class_photos, tmp_path, 'finetune')
    with pytest.raises(RuntimeError, match='returned nan values'):
        replay(folder, anomaly=True)


class Code:
    """A pickle that would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('name', ['weights.pth', 'batch_rank_0.pth'])
def test_replay__executes_no_pickle(class_photos, tmp_path, name):
    _, folder = kept(class_photos, tmp_path, 'finetune')
    torch.save({'batch': Code(tmp_path / 'made')}, folder / name)
    with pytest.raises(UnsafeCheckpointError):
        replay(folder)
    assert not (tmp_path / 'made').exists()
