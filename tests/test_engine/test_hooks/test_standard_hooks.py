# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Hooks of mmengine and mmpretrain work with our models, loops and hooks.

`EMAHook` has a file of its own. These are not for our models:
`NPUProfilerHook`, which needs torch_npu, and the hooks of other algorithms
(`SimSiamHook`, `DenseCLHook`, `SwAVHook`, `SetAdaptiveMarginsHook`,
`PrepareProtoBeforeValLoopHook`).
"""

import shutil

import pytest
import torch
from helpers.classifiers import classifier_config
from helpers.token_runs import config, train
from mmengine.config import Config
from mmengine.hooks import Hook

from mmcae.checkpoint.reading import read_checkpoint
from mmcae.launch.runner import build_runner

OURS = dict(
    runtime_info=dict(type='mmcae.RuntimeInfoHook'),
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='mmcae.CheckpointHook', interval=1),
    signal=dict(type='mmcae.SignalHook'),
)
SEED = dict(type='mmcae.IterationSeedHook')


@pytest.fixture(autouse=True)
def _no_formatting(monkeypatch):
    """Formatting the config takes most of the time of a short training."""
    monkeypatch.setattr(Config, 'pretty_text', 'config = None\n')


def pretraining(photos, folder, *custom, **default) -> Config:
    cfg = config(photos, folder, epochs=2)
    cfg.train_cfg = dict(type='mmcae.EpochBasedTrainLoop', max_epochs=2)
    cfg.param_scheduler = dict(type='CosineAnnealingLR', T_max=2)
    cfg.default_hooks = {**OURS, **default}
    cfg.custom_hooks = [SEED, *custom]
    cfg.log_level = 'ERROR'
    return cfg


@pytest.fixture(scope='module')
def usual(tmp_path_factory):
    """Losses and weights of a training without further hooks; by images."""
    known = {}

    def get(photos):
        if not known:
            folder = tmp_path_factory.mktemp('usual')
            known['run'] = train(pretraining(photos, folder))
        return known['run']

    return get


#: Hooks that must not change a training.
CUSTOM = {
    'sync buffers': dict(type='SyncBuffersHook'),
    'empty cache': dict(
        type='EmptyCacheHook',
        before_epoch=True,
        after_epoch=True,
        after_iter=True,
    ),
    'profile iterations': dict(
        type='ProfilerHook',
        by_epoch=False,
        profile_times=2,
        on_trace_ready=dict(type='log_trace', row_limit=3),
    ),
    'profile epochs': dict(
        type='ProfilerHook',
        profile_times=1,
        profile_memory=True,
        record_shapes=True,
    ),
    'naive visualization': dict(type='NaiveVisualizationHook'),
    'ema of mmpretrain': dict(
        type='mmpretrain.EMAHook', momentum=0.5, priority='ABOVE_NORMAL'
    ),
    'precise bn': dict(type='mmpretrain.PreciseBNHook', num_samples=8),
    'class number': dict(type='mmpretrain.ClassNumCheckHook'),
    'visualization': dict(type='mmpretrain.VisualizationHook', enable=True),
}
#: The same, in place of a default hook.
DEFAULT = {
    'info of mmengine': dict(runtime_info=dict(type='RuntimeInfoHook')),
    'timer': dict(timer=dict(type='IterTimerHook')),
    'sampler seed': dict(sampler_seed=dict(type='DistSamplerSeedHook')),
    'checkpoints of mmengine': dict(
        checkpoint=dict(
            type='CheckpointHook',
            interval=1,
            max_keep_ckpts=1,
            published_keys=['meta', 'state_dict'],
        )
    ),
    'checkpoints by iteration': dict(
        checkpoint=dict(
            type='mmcae.CheckpointHook',
            by_epoch=False,
            interval=2,
            save_begin=2,
            filename_tmpl='step-{}.pth',
            published_keys=['meta', 'state_dict'],
        )
    ),
    'logger by iteration': dict(
        logger=dict(
            type='LoggerHook',
            interval=2,
            ignore_last=False,
            interval_exp_name=1,
            log_metric_by_epoch=False,
        )
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', [*CUSTOM, *DEFAULT])
def test_pretraining__is_the_same_with_the_hook(usual, photos, tmp_path, name):
    losses, weights = usual(photos)
    custom = [CUSTOM[name]] if name in CUSTOM else []
    cfg = pretraining(
        photos, tmp_path / 'run', *custom, **DEFAULT.get(name, {})
    )
    got_losses, got_weights = train(cfg)
    assert got_losses == losses
    for key, value in weights.items():
        assert torch.equal(value, got_weights[key])


def test_pretraining__is_the_same_with_many_hooks(usual, photos, tmp_path):
    """The next test, slower, says which of them it is."""
    # Older torch runs only one profiler at a time.
    hooks = {k: v for k, v in CUSTOM.items() if k != 'profile epochs'}
    cfg = pretraining(
        photos,
        tmp_path / 'run',
        *hooks.values(),
        logger=DEFAULT['logger by iteration']['logger'],
        checkpoint=DEFAULT['checkpoints by iteration']['checkpoint'],
    )
    losses, _ = train(cfg)
    assert losses == usual(photos)[0]


def test_logger__copies_the_logs(photos, tmp_path):
    logger = dict(
        type='LoggerHook', interval=1, out_dir=str(tmp_path / 'copies')
    )
    train(pretraining(photos, tmp_path / 'run', logger=logger))
    names = [path.name for path in (tmp_path / 'copies/run').rglob('*.*')]
    assert any(name.endswith('.log') for name in names)
    assert 'scalars.json' in names


def test_switch_recipe__changes_the_crops_of_a_pretraining(photos, tmp_path):
    cfg = pretraining(photos, tmp_path / 'run')
    pipeline = [dict(step) for step in cfg.train_dataloader.dataset.pipeline]
    pipeline[2]['scale'] = (0.9, 1.0)
    cfg.custom_hooks.append(
        dict(
            type='mmpretrain.SwitchRecipeHook',
            schedule=[dict(action_epoch=2, train_pipeline=pipeline)],
        )
    )
    runner = build_runner(cfg)
    runner.train()
    transforms = runner.train_dataloader.dataset.pipeline.transforms
    assert tuple(transforms[2].scale) == (0.9, 1.0)


def test_warmup_param__changes_the_weight_of_a_loss(photos, tmp_path):
    cfg = pretraining(
        photos,
        tmp_path / 'run',
        dict(
            type='mmpretrain.WarmupParamHook',
            param_name='lambd',
            module_name='head.loss_module',
            warmup_epochs=4,
        ),
    )
    runner = build_runner(cfg)
    runner.train()
    assert runner.model.head.loss_module.lambd == pytest.approx(5 / 12)


@pytest.fixture
def classes(photos, tmp_path):
    """The images in two folders, one a class."""
    root = tmp_path / 'classes'
    for number, path in enumerate(sorted(photos.iterdir())):
        folder = root / 'ab'[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return root


SIZES = dict(
    embed_dim=16, depth=1, num_heads=2, img_size=32, patch_size=8,
    num_classes=2,
)  # fmt: skip


def evaluation(classes, folder, *custom, kind='linear') -> Config:
    """Train a classifier on our encoder for three epochs, and validate."""
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='mmcae.SeededSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='mmpretrain.CustomDataset',
            data_root=str(classes),
            pipeline=[
                dict(type='mmcae.LoadImage'),
                dict(type='mmpretrain.Resize', scale=(32, 32)),
                dict(type='mmpretrain.PackInputs'),
            ],
        ),
    )
    model = classifier_config(kind, SIZES)
    model['data_preprocessor'] = dict(
        type='mmpretrain.ClsDataPreprocessor', num_classes=2
    )
    plain = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
    return Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(folder),
            model=model,
            train_dataloader=loader,
            val_dataloader=plain,
            test_dataloader=plain,
            val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
            test_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            train_cfg=dict(type='mmcae.EpochBasedTrainLoop', max_epochs=3),
            val_cfg=dict(),
            test_cfg=dict(),
            default_hooks=OURS,
            custom_hooks=[SEED, *custom],
            visualizer=dict(
                type='UniversalVisualizer',
                vis_backends=[dict(type='LocalVisBackend')],
            ),
            randomness=dict(seed=0),
            log_level='ERROR',
        )
    )


EVALUATION = {
    'precise bn': dict(type='mmpretrain.PreciseBNHook', num_samples=8),
    'class number': dict(type='mmpretrain.ClassNumCheckHook'),
    'visualization': dict(type='mmpretrain.VisualizationHook', enable=True),
    'ema of mmpretrain': dict(
        type='mmpretrain.EMAHook', momentum=0.5, evaluate_on_origin=True
    ),
    'tta': dict(
        type='PrepareTTAHook',
        tta_cfg=dict(type='mmpretrain.AverageClsScoreTTA'),
    ),
    'switch recipe': dict(
        type='mmpretrain.SwitchRecipeHook',
        schedule=[
            dict(
                action_epoch=1,
                batch_augments=dict(augments=dict(type='Mixup', alpha=0.8)),
                loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
            )
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', EVALUATION)
def test_evaluation__works_with_the_hook(classes, tmp_path, name):
    cfg = evaluation(classes, tmp_path / 'run', EVALUATION[name])
    runner = build_runner(cfg)
    runner.train()
    assert runner.epoch == 3
    saved = read_checkpoint(tmp_path / 'run' / 'epoch_3.pth')
    assert saved['meta']['epoch'] == 3
    if name == 'visualization':
        assert list((tmp_path / 'run').glob('*/vis_data/vis_image/*.png'))


class Worse(Hook):
    """Lets each validation give the same number."""

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner, metrics=None) -> None:
        metrics['accuracy/top1'] = 50.0


def test_early_stopping__ends_our_loop(classes, tmp_path):
    stop = dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=1)
    runner = build_runner(evaluation(classes, tmp_path / 'run', stop))
    runner.register_hook(Worse())
    runner.train()
    assert runner.epoch == 2
    # What it has is saved, and can be resumed.
    assert (tmp_path / 'run' / 'epoch_2.pth').exists()
