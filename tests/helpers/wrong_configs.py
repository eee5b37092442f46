# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# ruff: noqa: E501 (a table reads better with one row a line)
"""Mistakes in configs, and a judge of what a training says about each.

The tests and `make reliability` share this table.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmcae.checkpoint.reading import write_weights
from mmcae.config.overrides import load_config
from mmcae.launch.errors import clear_errors
from mmcae.launch.runner import build_runner, set_loader_defaults, train

NAN = float('nan')
INF = float('inf')

PIPELINE = 'train_dataloader.dataset.pipeline'
CROP, MASK = f'{PIPELINE}.1', f'{PIPELINE}.2'
BACKBONE, NECK = 'model.backbone', 'model.neck'
CHECKPOINT = 'model.target_generator.init_cfg.checkpoint'

#: The right config: the digits recipe with crops, 32 px in 4 x 4 patches.
CONFIG = """
_base_ = 'mmcae::cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'
work_dir = 'work'
pipeline = [
    dict(type='mmcae.LoadImage'),
    dict(type='mmcae.TwoViewRandomResizedCrop', size=32, second_size=32),
    dict(type='mmcae.BlockMaskGenerator', input_size=(4, 4),
         num_masking_patches=8, min_num_patches=2),
    dict(type='mmpretrain.PackInputs'),
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(data_root='photos', cache=False, pipeline=pipeline))
model = dict(
    backbone=dict(arch=dict(num_layers=1)),
    target_generator=dict(
        hidden_channels=(4, 4, 8),
        init_cfg=dict(checkpoint='tokenizer.pth')))
default_hooks = dict(
    timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook'))
"""


class Case(NamedTuple):
    """A mistake.

    Attributes:
        wrong: Options by their keys, or Python code at the end of the config.
        says: What the error must contain: the key, and the hint if any.
        origin: ``'study'``, ``'audit'`` or ``'own'``: who found it.
    """

    wrong: dict[str, Any] | str
    says: tuple[str, ...]
    origin: str = 'own'

    @property
    def name(self) -> str:
        """What distinguishes the case from all others."""
        if isinstance(self.wrong, str):
            return self.wrong
        return ' '.join(f'{k}={v!r}' for k, v in self.wrong.items())


class Verdict(NamedTuple):
    """What happened.

    Attributes:
        clear: Whether the mistake ended before the training in one line that
            names it, with exit status 2.
        text: The line, or what happened instead.
    """

    clear: bool
    text: str


def _values(origin: str, table: dict[str, list]) -> Iterator[Case]:
    for key, values in table.items():
        for value in values:
            yield Case(
                {key: value}, (f'{key.removeprefix("+")}={value!r}',), origin
            )


def _study() -> Iterator[Case]:
    """The 21 of the first study, as far as this package has the key."""
    for wrong, *says in (
        ({'model.type': 'mmcae.CEA'}, "model.type='mmcae.CEA'", 'mmcae.CAE'),
        (
            {f'{BACKBONE}.type': 'mmcae.CAEPretrainVit'},
            f'{BACKBONE}.type=',
            'CAEPretrainViT',
        ),
        ({f'+{NECK}.regresor_depth': 2}, f'{NECK}.regressor_depth'),
        (
            {'+optim_wrapper.accumulative_count': 2},
            'optim_wrapper.accumulative_counts',
        ),
        ({'optim_wrapper.optimizer.lr': -1e-3}, 'optimizer.lr=-0.001'),
        (
            {'train_dataloader.dataset.data_root': 'empty'},
            'data_root',
            'no image in',
        ),
        (
            {'train_dataloader.dataset.data_root': 'nowhere'},
            'data_root',
            'nowhere is not a folder',
        ),
        ({CHECKPOINT: 'nowhere.pth'}, 'nowhere.pth'),
        ({'load_from': 'nowhere.pth', 'resume': True}, 'nowhere.pth'),
        ({f'{MASK}.num_masking_patches': 17}, 'num_masking_patches=17'),
        ({f'{MASK}.input_size': (2, 4)}, 'input_size', '4 x 4'),
        ({f'{BACKBONE}.arch.num_heads': 3}, 'num_heads', '64'),
        ({f'{NECK}.num_heads': 3}, f'{NECK}.num_heads=3', '64'),
        ({f'+{NECK}.in_channels': 32}, f'{NECK}.in_channels=32', '64'),
        ({f'{NECK}.num_classes': 63}, '64 codes', '63'),
        ({f'{CROP}.second_size': 64}, 'second_size', '64'),
        ({CHECKPOINT: 'other.pth'}, 'other.pth'),
        ({'load_from': 'other.pth'}, "load_from='other.pth'"),
        ("optim_wraper = dict(type='OptimWrapper')", "'optim_wrapper'"),
        ('trian_cfg = dict(max_epochs=3)', "'train_cfg'"),
        ({f'{MASK}.num_masking_patches': 200}, 'num_masking_patches=200'),
    ):
        yield Case(wrong, tuple(says), 'study')


def _audit() -> Iterator[Case]:
    """The 62 that were tried on this package."""
    yield from _values(
        'audit',
        {
            # silent
            f'{MASK}.num_masking_patches': [16, 0],
            f'{BACKBONE}.img_size': [60],
            'train_cfg.max_epochs': [0, -1],
            'optim_wrapper.clip_grad.max_norm': [0, -1],
            f'{BACKBONE}.drop_path_rate': [1.5, -0.1],
            f'{NECK}.regressor_depth': [0],
            'default_hooks.checkpoint.interval': [0, 'a'],
            'default_hooks.checkpoint.max_keep_ckpts': [0],
            'param_scheduler.1.T_max': [0],
            f'{CROP}.scale': [(2, 3)],
            # late
            'model.data_preprocessor.std': [[0.0, 1.0, 1.0]],
            'model.head.loss.lambd': [NAN, 'a'],
            # tracebacks
            'train_dataloader.batch_size': [0, -4, '8', 8.5],
            'train_dataloader.num_workers': [-1],
            'optim_wrapper.optimizer.lr': ['abc', NAN, None],
            'optim_wrapper.optimizer.betas': [(0.9, 1.5)],
            'optim_wrapper.optimizer.weight_decay': [-1],
            f'{BACKBONE}.arch.num_heads': [0],
            f'{BACKBONE}.patch_size': [0],
            'model.data_preprocessor.mean': [[1.0, 2.0]],
            'train_dataloader.dataset.data_root': [3],
            'randomness.seed': ['x', -1],
            '+optim_wrapper.dtype': ['float8'],
            '+optim_wrapper.accumulative_counts': [0],
        },
    )
    for wrong, *says in (
        # silent
        (
            'default_hooks = dict(checkpiont=dict(interval=3))',
            'default_hooks.checkpiont',
            'default_hooks.checkpoint',
        ),
        ({f'{BACKBONE}.img_size': 64}, f'{BACKBONE}.img_size', '64 x 64'),
        # late
        (_pipeline(''), PIPELINE, 'LoadImage'),
        (_pipeline('load, crop, pack'), PIPELINE, 'mask'),
        (_pipeline('crop, load, mask, pack'), f'{PIPELINE}.0', 'img'),
        # tracebacks
        (
            'train_dataloader = dict(num_worker=2)',
            'train_dataloader.num_workers',
        ),
        ('train_cfg = dict(max_epoch=2)', 'train_cfg.max_epochs'),
        ('x = (1', 'line'),
        ({'model': None}, 'model'),
        ({'load_from': 'text.pth'}, 'text.pth'),
        (
            {'optim_wrapper.optimizer.type': 'AdmaW'},
            "optim_wrapper.optimizer.type='AdmaW'",
            "'AdamW'",
        ),
        # were clear, or one line without the key
        ({'model.head.type': 'mmcae.CAEHed'}, 'model.head.type=', 'CAEHead'),
        (
            {f'{MASK}.type': 'mmcae.BlokMaskGenerator'},
            f'{MASK}.type=',
            'BlockMaskGenerator',
        ),
        ({'batch_sise': 3}, 'batch_size'),
        ({'train_cfg.max_epoch': 3}, 'train_cfg.max_epochs'),
        ({'train_dataloader.num_worker': 3}, 'train_dataloader.num_workers'),
        ({'default_hooks.checkpiont': {}}, 'default_hooks.checkpoint'),
        ({'train_cfg.type': 'EpochBasdTrainLoop'}, 'train_cfg.type='),
        ({'param_scheduler.1.type': 'CosineLR'}, 'param_scheduler.1.type='),
        (
            {'train_dataloader.sampler.type': 'DefaultSampler2'},
            'train_dataloader.sampler.type=',
        ),
        ({'param_scheduler.1.end': 2}, 'param_scheduler.1.end=2'),
    ):
        yield Case(wrong, tuple(says), 'audit')


def _pipeline(steps: str) -> str:
    return (
        'load, crop, mask, pack = _base_pipeline\n'
        f'train_dataloader = dict(dataset=dict(pipeline=[{steps}]))'
    )


def _own() -> Iterator[Case]:
    """Those that were found later."""
    yield from _values(
        'own',
        {
            'train_dataloader.batch_size': [None, True, [4]],
            'train_dataloader.num_workers': ['two', 1.5],
            'train_dataloader.drop_last': ['yes'],
            '+train_dataloader.prefetch_factor': [0],
            '+train_dataloader.timeout': [-1],
            'train_cfg.max_epochs': ['ten', 2.5, None],
            '+train_cfg.val_interval': [0],
            'randomness.seed': [2**32, 1.5],
            'randomness.deterministic': ['yes'],
            'optim_wrapper.optimizer.lr': [INF, [1e-3]],
            'optim_wrapper.optimizer.betas': [0.9, (0.9,), (-0.1, 0.9)],
            'optim_wrapper.optimizer.weight_decay': [NAN, 'a', None],
            'optim_wrapper.optimizer.fused': ['yes'],
            '+optim_wrapper.optimizer.eps': [-1, 'a'],
            'optim_wrapper.clip_grad': [3.0],
            'optim_wrapper.clip_grad.max_norm': ['a', NAN],
            '+optim_wrapper.accumulative_counts': [1.5, 'a'],
            'optim_wrapper.paramwise_cfg.norm_decay_mult': ['a', -1],
            'param_scheduler.0.start_factor': [-0.1, 2],
            'param_scheduler.0.end': [0, 'a'],
            'param_scheduler.1.begin': [-1],
            'param_scheduler.1.T_max': [-3, 7.5],
            'param_scheduler.1.eta_min': [-1, 'a'],
            'param_scheduler.1.by_epoch': ['yes'],
            'default_hooks.logger.interval': [0, 'a'],
            'default_hooks.checkpoint.interval': [-2, 1.5],
            'default_hooks.checkpoint.max_keep_ckpts': ['a', 1.5],
            'default_hooks.checkpoint.save_optimizer': ['no'],
            '+default_hooks.checkpoint.save_best': [3],
            'default_hooks.visualization.enable': ['no'],
            'log_processor.window_size': [0, 'a'],
            'log_level': ['LOUD', 3],
            f'{BACKBONE}.patch_size': [-8, 'a', 8.5, (8, 8, 8)],
            f'{BACKBONE}.img_size': [0, 'a', (32, 32, 32)],
            f'+{BACKBONE}.in_channels': [0, 'a'],
            f'+{BACKBONE}.drop_rate': [1.5, -0.1, 'a'],
            f'+{BACKBONE}.qkv_bias': ['a'],
            f'+{BACKBONE}.final_norm': ['a'],
            f'+{BACKBONE}.out_type': ['all'],
            f'{BACKBONE}.layer_scale_init_value': ['a', NAN],
            f'{BACKBONE}.arch': ['bse', 3],
            f'{BACKBONE}.arch.num_heads': ['a', 2.5, -2],
            f'{BACKBONE}.arch.num_layers': [0, -1, 'a', 1.5],
            f'{BACKBONE}.arch.embed_dims': [0, 65],
            f'{BACKBONE}.arch.feedforward_channels': [0, 'a'],
            f'{NECK}.regressor_depth': [-1, 'a', 1.5],
            f'{NECK}.decoder_depth': [-1, 'a'],
            f'{NECK}.num_heads': [0, 'a'],
            f'{NECK}.embed_dims': [0, 'a', 63],
            f'{NECK}.num_classes': [0, 'a'],
            f'+{NECK}.mlp_ratio': [0, 'a'],
            f'+{NECK}.drop_path_rate': [1.5, -0.1],
            f'+{NECK}.weight_init': ['xaver'],
            f'{NECK}.layer_scale_init_value': ['a'],
            '+model.target_encoder': ['shard'],
            '+model.base_momentum': [2.0],
            'model.head.loss.lambd': [-1, None, INF],
            'model.target_generator.vocab_size': [0, 'a'],
            'model.target_generator.downsample': [0, 3, 4],
            'model.data_preprocessor.mean': ['a', [NAN] * 3],
            'model.data_preprocessor.std': [[-1.0] * 3],
            'model.data_preprocessor.second_std': [[1.0, 0.0, 1.0]],
            'model.data_preprocessor.to_rgb': ['no'],
            'train_dataloader.dataset.cache': ['no'],
            '+train_dataloader.dataset.max_unreadable': [2.0, -1, 'a'],
            f'{CROP}.size': [0, -32, 'a', 30, 64],
            f'{CROP}.second_size': [0, 'a', 16],
            f'+{CROP}.scale': [(0.5, 0.2), 0.5, (0, 1)],
            f'+{CROP}.ratio': [(0, 1), 'a'],
            f'+{CROP}.interpolation': ['bicubik'],
            f'+{CROP}.backend': ['fastest'],
            f'{MASK}.num_masking_patches': [-1, 'a', 7.5],
            f'{MASK}.min_num_patches': ['a'],
            f'{MASK}.input_size': [0, 'a', (14, 14)],
            'load_from': [3, ''],
            'train_dataloader': [None, []],
            'optim_wrapper': [None, 3],
            'optim_wrapper.optimizer': [None],
            'train_cfg': [None, 3],
            'custom_hooks': [3],
            'param_scheduler': [3, 'a'],
            'default_hooks': [3],
        },
    )
    for wrong, *says in (
        # a key, misspelt in a file
        (
            'model = dict(backbone=dict(drop_path_rat=0.1))',
            BACKBONE,
            'drop_path_rate',
        ),
        (
            'model = dict(backbone=dict(arch=dict(num_head=2)))',
            f'{BACKBONE}.arch',
            'num_heads',
        ),
        ('model = dict(nek=dict(num_heads=2))', 'model.nek', 'model.neck'),
        (
            'model = dict(head=dict(loss=dict(lamd=2)))',
            'model.head.loss.lamd',
            'lambd',
        ),
        (
            'model = dict(data_preprocessor=dict(to_rbg=True))',
            'model.data_preprocessor.to_rbg',
            'to_rgb',
        ),
        (
            'model = dict(target_generator=dict(init_cfg=dict(checkpiont="x")))',
            'init_cfg.checkpiont',
            'checkpoint',
        ),
        (
            'model = dict(target_generator=dict(donwsample=8))',
            'model.target_generator.donwsample',
            'downsample',
        ),
        (
            'optim_wrapper = dict(clip_grad=dict(max_nrom=1))',
            'optim_wrapper.clip_grad.max_nrom',
            'max_norm',
        ),
        (
            'optim_wrapper = dict(optimizer=dict(weigth_decay=1))',
            'optim_wrapper.optimizer.weigth_decay',
            'weight_decay',
        ),
        (
            'optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mul=0))',
            'paramwise_cfg.norm_decay_mul',
            'norm_decay_mult',
        ),
        (
            'param_scheduler = [dict(type="CosineAnnealingLR", Tmax=3)]',
            'param_scheduler.0.Tmax',
            'T_max',
        ),
        (
            'param_scheduler = [dict(type="LinearLR", start_facter=0.1)]',
            'param_scheduler.0.start_facter',
            'start_factor',
        ),
        (
            'default_hooks = dict(checkpoint=dict(intervl=3))',
            'default_hooks.checkpoint.intervl',
            'interval',
        ),
        (
            'default_hooks = dict(logger=dict(intervl=3))',
            'default_hooks.logger.intervl',
            'interval',
        ),
        (
            'custom_hooks = [dict(type="EMAHook", momentun=0.1)]',
            'custom_hooks.0.momentun',
        ),
        (
            'train_dataloader = dict(batchsize=3)',
            'train_dataloader.batchsize',
            'batch_size',
        ),
        (
            'train_dataloader = dict(dataset=dict(data_rot="x"))',
            'train_dataloader.dataset.data_rot',
            'data_root',
        ),
        (
            'train_dataloader = dict(sampler=dict(shufffle=True))',
            'train_dataloader.sampler.shufffle',
            'shuffle',
        ),
        (
            'pipeline = _base_pipeline\npipeline[1]["secondsize"] = 32\ntrain_dataloader = dict(dataset=dict(pipeline=pipeline))',
            f'{CROP}.secondsize',
            'second_size',
        ),
        (
            'pipeline = _base_pipeline\npipeline[2]["min_num_patchs"] = 3\ntrain_dataloader = dict(dataset=dict(pipeline=pipeline))',
            f'{MASK}.min_num_patchs',
            'min_num_patches',
        ),
        ('randomness = dict(sed=3)', 'randomness.sed', 'seed'),
        (
            'env_cfg = dict(cudnn_benchmrk=True)',
            'env_cfg.cudnn_benchmrk',
            'cudnn_benchmark',
        ),
        (
            'env_cfg = dict(dist_cfg=dict(backnd="nccl"))',
            'env_cfg.dist_cfg.backnd',
            'backend',
        ),
        (
            'log_processor = dict(windowsize=3)',
            'log_processor.windowsize',
            'window_size',
        ),
        (
            'visualizer = dict(vis_backend=[])',
            'visualizer.vis_backend',
            'vis_backends',
        ),
        ('custom_imports = dict(import_=["x"])', 'custom_imports'),
        (
            'custom_imports = dict(imports=["no_such_module"])',
            'custom_imports',
            "No module named 'no_such_module'",
        ),
        ('defalt_scope = "mmcae"', 'defalt_scope', 'default_scope'),
        ('ranomness = dict(seed=3)', 'ranomness', 'randomness'),
        ('custom_hook = []', 'custom_hook', 'custom_hooks'),
        ('param_schedulers = []', 'param_schedulers', 'param_scheduler'),
        # a type
        (
            {'optim_wrapper.type': 'OptimWraper'},
            "optim_wrapper.type='OptimWraper'",
            'OptimWrapper',
        ),
        (
            {
                'optim_wrapper.constructor': 'mmcae.MergedOptimWraperConstructor'
            },
            'optim_wrapper.constructor=',
            'MergedOptimWrapperConstructor',
        ),
        (
            {'default_hooks.checkpoint.type': 'mmcae.CheckpointHok'},
            'default_hooks.checkpoint.type=',
            'mmcae.CheckpointHook',
        ),
        (
            'custom_hooks = [dict(type="EMAHok")]',
            "custom_hooks.0.type='EMAHok'",
            "'EMAHook'",
        ),
        (
            {'train_dataloader.dataset.type': 'mmcae.FolderDatset'},
            'train_dataloader.dataset.type=',
            'FolderDataset',
        ),
        (
            {'train_dataloader.collate_fn.type': 'default_colate'},
            'train_dataloader.collate_fn.type=',
            'default_collate',
        ),
        (
            {'visualizer.type': 'UniversalVisualiser'},
            'visualizer.type=',
            'UniversalVisualizer',
        ),
        (
            {'log_processor.type': 'LogProcesor'},
            'log_processor.type=',
            'LogProcessor',
        ),
        (
            {'model.data_preprocessor.type': 'mmcae.CAEDataPreprocesor'},
            'model.data_preprocessor.type=',
            'CAEDataPreprocessor',
        ),
        (
            {'model.target_generator.init_cfg.type': 'Pretraind'},
            'model.target_generator.init_cfg.type=',
            'Pretrained',
        ),
        (
            {'model.head.loss.type': 'mmcae.CAELos'},
            'model.head.loss.type=',
            'CAELoss',
        ),
        ({'default_scope': 'mmcea'}, "default_scope='mmcea'", 'mmcae'),
        (
            'del_ = 1\nmodel = dict(_delete_=True, type="mmcae.CAE", neck=dict(), head=dict())',
            'model',
            'backbone',
        ),
        (
            'optim_wrapper = dict(optimizer=dict(_delete_=True, lr=1))',
            'optim_wrapper.optimizer',
            'type',
        ),
        # files
        ('_base_ = "nowhere.py"', 'nowhere.py'),
        ('raise RuntimeError("no")', 'no'),
        ('x = undefined_name', 'undefined_name'),
        ({'load_from': 'photos'}, 'photos'),
        ({'work_dir': 'text.pth'}, 'text.pth'),
        # sizes that do not fit
        ({f'+{BACKBONE}.in_channels': 4}, f'{BACKBONE}.in_channels', '4'),
        (
            {'model.target_generator.vocab_size': 32},
            f'{NECK}.num_classes=64',
            '32',
        ),
        (
            {'model.data_preprocessor.second_mean': [1.0] * 3},
            'model.data_preprocessor.second_mean=',
            '0.0',
        ),
        ({f'{BACKBONE}.patch_size': 16}, 'patch'),
        ({f'{BACKBONE}.img_size': 48}, f'{BACKBONE}.img_size'),
        ({'train_dataloader.batch_size': 64}, 'batch_size'),
        (
            {
                f'{CROP}.size': 64,
                f'{MASK}.input_size': 8,
                f'{CROP}.second_size': 64,
            },
            'img_size',
        ),
        (_pipeline('load, crop, mask'), PIPELINE, 'PackInputs'),
        (_pipeline('load, mask, pack'), PIPELINE),
        (_pipeline('load, crop, crop, mask, pack'), PIPELINE),
    ):
        yield Case(wrong, tuple(says))


CASES: tuple[Case, ...] = (*_study(), *_audit(), *_own())


def write_project(folder: Path) -> None:
    """Write the config, a tokenizer, and files that are no images.

    So a training that decodes an image fails.
    """
    from mmcae.models import DVAE

    for name in ('photos', 'empty'):
        (folder / name).mkdir(parents=True)
    for number in range(8):
        (folder / 'photos' / f'{number}.png').write_text('not an image')
    (folder / 'text.pth').write_text('no checkpoint')
    torch.manual_seed(0)
    tokenizer = DVAE(
        vocab_size=64, downsample=8, overlap=False, hidden_channels=(4, 4, 8)
    )
    write_weights(tokenizer.state_dict(), folder / 'tokenizer.pth')
    write_weights({'other.weight': torch.ones(2)}, folder / 'other.pth')
    # Inherited once, because finding a base of mmpretrain takes a second.
    config = folder / 'inherits.py'
    config.write_text(CONFIG)
    load_config(config).dump(folder / 'base.py')


class StartedError(BaseException):
    """The training would decode its first image now."""


class _Stop(Hook):
    priority = 'VERY_LOW'

    def before_train(self, runner: Any) -> None:
        raise StartedError


@contextlib.contextmanager
def _quick_start() -> Iterator[None]:
    """Leave out what only fills the log: the config and the compilers."""
    with (
        mock.patch.object(Config, 'pretty_text', 'left out'),
        mock.patch('mmengine.runner.runner.collect_env', dict),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        yield


def judge(case: Case, folder: Path) -> Verdict:
    """Start a training with a mistake, as ``tools/train.py`` does."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    config = folder / 'case.py'
    code, options = "_base_ = ['base.py']\n", None
    if '_base_ =' in str(case.wrong):
        code = ''
    if isinstance(case.wrong, str):
        code += case.wrong.replace('_base_pipeline', '_base_.pipeline')
    else:
        options = case.wrong
    config.write_text(code)
    said = io.StringIO()
    before = os.getcwd()
    os.chdir(folder)
    try:
        with _quick_start(), contextlib.redirect_stderr(said), clear_errors():
            cfg = load_config(config, options)
            set_loader_defaults(cfg)
            runner = build_runner(cfg)
            runner.register_hook(_Stop())
            train(runner)
    except StartedError:
        return Verdict(False, 'the training begins')
    except SystemExit as stop:
        status = stop.code
    except Exception as error:
        return Verdict(False, f'{type(error).__name__}: {error}')
    finally:
        os.chdir(before)
    lines = [x for x in said.getvalue().splitlines() if 'error: ' in x]
    text = '\n'.join(lines)
    if status != 2 or len(lines) != 1 or 'Traceback' in said.getvalue():
        return Verdict(False, f'exit {status}, {len(lines)} lines: {text}')
    missing = [x for x in case.says if x not in text]
    if missing:
        return Verdict(False, f'does not say {missing}: {text}')
    return Verdict(True, text)
