# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Each classifier of a sweep equals one that is trained alone."""

import json
import sys
from pathlib import Path

import pytest
import torch
from helpers.scripts import run_as_main
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from PIL import Image
from sklearn.datasets import load_sample_images

from mmcae.checkpoint.reading import read_checkpoint
from mmcae.config.search_path import find_config
from mmcae.engine import SweepAccuracyHook
from mmcae.evaluation import SweepAccuracy
from mmcae.models import SweepLinearHead
from mmcae.utils import load_config

PLAIN = 'beit-base-p16_cae-pre_8xb2048-linear-coslr-90e_in1k'
SWEEP = 'beit-base-p16_cae-pre_8xb2048-linear-sweep-coslr-90e_in1k'
TOOL = Path(__file__).parents[2] / 'tools/model_converters/sweep_to_linear.py'
LRS = (0.8, 25.6, 6.4)


def train(name, root, work_dir, **options):
    """A short run of a tiny model: accumulation, schedule, bfloat16."""
    config = load_config(name, options)
    config.model.backbone.update(
        arch=dict(
            embed_dims=32,
            num_layers=2,
            num_heads=4,
            feedforward_channels=64,
        ),
        img_size=32,
        frozen_stages=2,
    )
    config.model.backbone.pop('init_cfg')
    config.model.neck.input_features = 32
    config.model.head.update(num_classes=6, in_channels=32)
    config.data_preprocessor.num_classes = 6
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader.dataset.update(
            data_root=str(root), metainfo=dict(classes=list('abcdef'))
        )
    config.train_dataloader.dataset.pipeline[1].size = 32
    config.val_dataloader.dataset.pipeline[2].crop_size = 32
    for part in ('dataloader', 'evaluator', 'cfg'):
        config.pop(f'test_{part}')
    config.train_cfg.max_epochs = 4
    config.param_scheduler[0].end = config.param_scheduler[1].begin = 1
    config.param_scheduler[1].update(end=4, T_max=3)
    config.optim_wrapper.accumulative_counts = 2
    # The run has few steps, so they are large.
    config.optim_wrapper.optimizer.trust_coefficient = 0.02
    config.default_hooks.logger.interval = 1
    config.work_dir = str(work_dir)
    runner = Runner.from_cfg(config)
    runner.train()
    (log,) = Path(work_dir).glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return runner, records


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Six classes, crops of photographs, in ImageNet's layout."""
    root = tmp_path_factory.mktemp('data')
    photographs = load_sample_images().images
    for split in ('train', 'val'):
        for label in range(6):
            folder = root / split / f'n0000000{label}'
            folder.mkdir(parents=True)
            corner = 100 * (label // 2)
            for i in range(2 + (split == 'val')):
                pixels = photographs[label % 2][corner:, 40 * i :]
                Image.fromarray(pixels[:100, :100]).save(folder / f'{i}.png')
    return root


@pytest.fixture(scope='module')
def sweep(root, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('sweep')
    runner, records = train(
        SWEEP, root, work_dir, **{'model.head.lrs': list(LRS)}
    )
    return runner, records, work_dir


def histories(records, key):
    return [record[key] for record in records if key in record]


@pytest.mark.parametrize('lr', LRS)
def test_sweep__each_classifier_equals_one_trained_alone(
    sweep, root, tmp_path, lr
):
    """To the last bit, statistics and evaluations included."""
    runner, records, _ = sweep
    alone, its_records = train(
        PLAIN, root, tmp_path, **{'optim_wrapper.optimizer.lr': lr}
    )
    model, expected = runner.model, alone.model
    fc = model.head.fcs[f'lr{lr:g}'.replace('.', '_')]
    assert torch.equal(fc.weight, expected.head.fc.weight)
    assert torch.equal(fc.bias, expected.head.fc.bias)
    for name, value in expected.neck.state_dict().items():
        assert torch.equal(model.neck.state_dict()[name], value), name
    for ours, theirs in (
        (f'loss_lr{lr:g}', 'loss'),
        (f'lr{lr:g}/top1', 'accuracy/top1'),
        (f'lr{lr:g}/top5', 'accuracy/top5'),
    ):
        values = histories(records, ours)
        assert len(values) == (12 if 'loss' in ours else 4)
        its_values = histories(its_records, theirs)
        # mmpretrain's accuracies are float32
        precision = 0 if 'loss' in ours else 1e-6
        assert values == pytest.approx(its_values, rel=precision, abs=0)


def test_sweep__logs_all_and_reports_the_best(sweep):
    runner, records, work_dir = sweep
    last = next(item for item in records[::-1] if 'accuracy/top1' in item)
    table = {f'lr{lr:g}': last[f'lr{lr:g}/top1'] for lr in LRS}
    assert last['accuracy/top1'] == max(table.values())
    head = runner.model.head
    first, *others = [fc.weight for fc in head.fcs.values()]
    assert all((first - w).abs().max() > 1e-3 for w in others)
    assert len(set(table.values())) > 1
    assert head.accuracy.tolist() == pytest.approx(list(table.values()))
    assert table[head.best] == max(table.values())
    log = next(work_dir.glob('*/*.log')).read_text()
    assert 'LARS, peak learning rates 0.8, 25.6, 6.4, batch 4 x 1' in log
    assert f'Best of 3 learning rates: {head.best}, ' in log
    for record in records:
        if 'loss' in record:
            parts = sum(record[f'loss_lr{lr:g}'] for lr in LRS)
            assert record['loss'] == pytest.approx(parts, rel=1e-5)


def test_evaluation__refuses_a_topk_and_results_that_do_not_fit(sweep):
    metric = SweepAccuracy(topk=(1, 7))
    sample = dict(
        sweep_labels={'lr1': torch.tensor([3, 2])},
        gt_label=torch.tensor([3]),
    )
    with pytest.raises(ValueError, match=r'have 2 labels.*model\.head\.topk'):
        metric.process(None, [sample])
    with pytest.raises(ValueError, match=r'lr0\.8/top1.*SweepAccuracy'):
        SweepAccuracyHook().after_val_epoch(sweep[0], {'accuracy/top1': 1.0})


def test_init__refuses_rates_that_are_not_positive_and_different(subtests):
    for lrs in ([], [1, 1.0], [0.1, 0], [1, 1.00000001]):
        with (
            subtests.test(lrs=lrs),
            pytest.raises(ValueError, match='must be different positive'),
        ):
            SweepLinearHead(num_classes=2, in_channels=3, lrs=lrs)


def run_tool(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        run_as_main(TOOL)
    return stop.value.code


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_export__is_a_checkpoint_of_the_plain_probe(
    sweep, tmp_path, monkeypatch, capsys, ending
):
    runner, records, work_dir = sweep
    (source,) = work_dir.glob('best_accuracy_top1_epoch_*.pth')
    state = read_checkpoint(source)['state_dict']
    epoch = int(source.stem.split('_')[-1])
    tops = [r for r in records if 'accuracy/top1' in r][epoch - 1]
    expected = [tops[f'lr{lr:g}/top1'] for lr in LRS]
    assert state['head.accuracy'].tolist() == pytest.approx(expected)
    best = f'lr{LRS[expected.index(max(expected))]:g}'
    for options, name in (((), best), (('--lr', '25.6'), 'lr25.6')):
        target = tmp_path / f'linear.{ending}'
        assert run_tool(monkeypatch, source, target, *options) == 0
        line = next(
            item
            for item in capsys.readouterr().out.splitlines()
            if 'taken' in item
        )
        assert line.split()[0] == name
        loaded = read_checkpoint(target)['state_dict']
        plain = runner.cfg.model.copy()
        plain.head = dict(
            type='mmpretrain.LinearClsHead', num_classes=6, in_channels=32
        )
        model = MODELS.build(plain).eval()
        model.load_state_dict(loaded, strict=True)
        weight = state[f'head.fcs.{name.replace(".", "_")}.weight']
        assert torch.equal(model.head.fc.weight, weight)
    assert read_checkpoint(target)['meta']['epoch'] in (epoch, str(epoch))


def test_export__refuses_other_rates_and_other_checkpoints(
    sweep, tmp_path, monkeypatch, capsys
):
    source = next(sweep[2].glob('best_*.pth'))
    target = tmp_path / 'linear.pth'
    assert run_tool(monkeypatch, source, target, '--lr', '3') == 1
    printed = capsys.readouterr().err
    assert 'no classifier for --lr 3, only lr0.8, lr25.6' in printed
    state = read_checkpoint(source)['state_dict']
    fresh, other = tmp_path / 'fresh.pth', tmp_path / 'other.pth'
    zeros = torch.zeros_like(state['head.accuracy'])
    torch.save({**state, 'head.accuracy': zeros}, fresh)
    assert run_tool(monkeypatch, fresh, target) == 1
    assert 'written before an evaluation' in capsys.readouterr().err
    torch.save({'head.fc.weight': torch.zeros(2, 2)}, other)
    assert run_tool(monkeypatch, other, target) == 1
    assert 'found no sweep' in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize('size', ['base', 'large'])
def test_config__differs_from_the_plain_recipe_in_the_rates_only(size):
    plain, sweep = (
        Config.fromfile(find_config(name.replace('base', size)))
        for name in (PLAIN, SWEEP)
    )
    for key in ('train_cfg', 'param_scheduler', 'train_dataloader'):
        assert sweep[key] == plain[key]
    for key in ('backbone', 'neck'):
        assert sweep.model[key] == plain.model[key]
    rates = sweep.model.head.pop('lrs')
    assert plain.optim_wrapper.optimizer.pop('lr') in rates
    assert sweep.model.head.pop('type') == 'mmcae.SweepLinearHead'
    plain.model.head.pop('type')
    assert sweep.model.head == plain.model.head
    assert sweep.optim_wrapper.pop('constructor').startswith('mmcae.Sweep')
    plain.optim_wrapper.pop('constructor')
    assert sweep.optim_wrapper == plain.optim_wrapper


def test_constructor__refuses_a_rate_that_would_have_no_effect():
    config = load_config(SWEEP, {'optim_wrapper.optimizer.lr': 3.0})
    config.model.backbone.arch = 'small'
    with torch.device('meta'):
        model = MODELS.build(config.model)
    with pytest.raises(ValueError, match=r'lr=3.0.*model\.head\.lrs'):
        build_optim_wrapper(model, config.optim_wrapper)
    plain = load_config(SWEEP).optim_wrapper
    with pytest.raises(TypeError, match='SweepLinearHead'):
        build_optim_wrapper(torch.nn.Linear(2, 2), plain)
