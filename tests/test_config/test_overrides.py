# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Strict overrides and misspelt keys."""

import copy
import glob
import warnings
from pathlib import Path

import pytest
from helpers import toy_project
from mmengine.config import Config
from mmengine.utils import get_installed_path

from mmcae.config.check import accepted_arguments, check_file
from mmcae.config.overrides import ConfigError, apply_options, load_config
from mmcae.config.search_path import find_config, list_configs


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return toy_project.write(tmp_path)


@pytest.fixture
def cfg(original):
    return copy.deepcopy(original)


@pytest.fixture
def original():
    return Config(
        dict(
            default_scope='mmpretrain',
            data_root='data/set',
            batch_size=4,
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet', depth=18),
                head=dict(type='LinearClsHead', num_classes=3),
            ),
            train_dataloader=dict(
                batch_size=4,
                dataset=dict(
                    type='RepeatDataset',
                    times=2,
                    dataset=dict(
                        type='CustomDataset',
                        data_root='data/set',
                        ann_file='data/set/train.txt',
                        pipeline=[
                            dict(type='LoadImageFromFile'),
                            dict(type='RandomFlip', prob=0.5),
                        ],
                    ),
                ),
            ),
            test_dataloader=dict(
                dataset=dict(type='CustomDataset', data_root='data/other')
            ),
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95)),
                clip_grad=None,
                paramwise_cfg=dict(bias_decay_mult=0.0),
            ),
            param_scheduler=[
                dict(type='LinearLR', end=5),
                dict(type='StepLR'),
            ],
            train_cfg=dict(by_epoch=True, max_epochs=3),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook')),
            custom_hooks=[dict(type='EMAHook')],
            env_cfg=dict(dist_cfg=dict(backend='nccl')),
        )
    )


def test_apply_options__valid_keys(original, subtests):
    for key, value in (
        # keys that exist, list items, members of a tuple
        ('model.backbone.depth', 50),
        ('param_scheduler.0.end', 7),
        ('optim_wrapper.optimizer.betas.1', 0.98),
        ('train_dataloader.dataset.dataset.pipeline.1.prob', 0.0),
        # arguments of the class, also through **kwargs of its bases
        ('model.backbone.frozen_stages', 2),
        ('train_dataloader.dataset.dataset.serialize_data', False),
        ('train_dataloader.dataset.dataset.pipeline.1.direction', 'vertical'),
        ('param_scheduler.0.begin', 1),
        ('optim_wrapper.accumulative_counts', 2),
        ('optim_wrapper.optimizer.foreach', False),
        ('default_hooks.checkpoint.max_keep_ckpts', 3),
        # keys that a builder takes out
        ('param_scheduler.0.convert_to_iter_based', True),
        ('custom_hooks.0.priority', 40),
        ('optim_wrapper.constructor', 'DefaultOptimWrapperConstructor'),
        # dicts without a type
        ('train_dataloader.persistent_workers', True),
        ('train_dataloader.sampler.type', 'DefaultSampler'),
        ('env_cfg.cudnn_benchmark', True),
        ('env_cfg.dist_cfg.timeout', 60),
        ('optim_wrapper.clip_grad.max_norm', 1.0),
        ('optim_wrapper.paramwise_cfg.norm_decay_mult', 0.0),
        ('optim_wrapper.paramwise_cfg.custom_keys.pos_embed.lr_mult', 0.1),
        ('train_cfg.val_interval', 2),
        # names that the Runner reads though the file does not set them
        ('load_from', 'x.pth'),
        ('randomness.seed', 3),
        ('randomness.deterministic', True),
        ('log_processor.window_size', 5),
        ('compile', True),
        ('find_unused_parameters', True),
        ('visualizer.name', 'vis'),
    ):
        with subtests.test(key):
            cfg = copy.deepcopy(original)
            apply_options(cfg, {key: value})
            node = cfg
            for part in key.split('.'):
                node = node[int(part) if part.isdigit() else part]
            assert node == value


def test_apply_options__misspelt_key_is_refused(original, subtests):
    for key, nearest in (
        ('model.backbone.dept', 'model.backbone.depth'),
        ('model.backbone.frozen_stage', 'model.backbone.frozen_stages'),
        ('modle.backbone.depth', 'modle'),
        ('optim_wraper.type', 'optim_wrapper'),
        ('optim_wrapper.clip_gard.max_norm', 'optim_wrapper.clip_grad'),
        (
            'optim_wrapper.clip_grad.maxnorm',
            'optim_wrapper.clip_grad.max_norm',
        ),
        ('optim_wrapper.acumulative_counts', 'accumulative_counts'),
        (
            'optim_wrapper.paramwise_cfg.norm_decay_mul',
            'optim_wrapper.paramwise_cfg.norm_decay_mult',
        ),
        ('param_scheduler.0.ned', 'param_scheduler.0.end'),
        ('trian_cfg.max_epochs', 'train_cfg'),
        ('train_cfg.max_epoch', 'train_cfg.max_epochs'),
        ('train_dataloader.batchsize', 'train_dataloader.batch_size'),
        ('train_dataloader.dataset.dataset.data_rot', 'data_root'),
        (
            'train_dataloader.dataset.dataset.pipeline.1.probs',
            'pipeline.1.prob',
        ),
        ('env_cfg.cudnn_benchmrk', 'env_cfg.cudnn_benchmark'),
        ('env_cfg.dist_cfg.backnd', 'env_cfg.dist_cfg.backend'),
        ('randomness.sed', 'randomness.seed'),
        ('default_hooks.checkpt.interval', 'default_hooks.checkpoint'),
        (
            'default_hooks.checkpoint.intervall',
            'default_hooks.checkpoint.inter',
        ),
        ('visualiser.name', 'visualizer'),
        # the right name in the wrong place
        ('lr', 'optim_wrapper.optimizer.lr'),
        ('max_epoch', 'train_cfg.max_epochs'),
        ('num_class', 'model.head.num_classes'),
    ):
        with subtests.test(key):
            cfg = copy.deepcopy(original)
            before = cfg.pretty_text
            with pytest.raises(ConfigError) as caught:
                apply_options(cfg, {'model.backbone.depth': 50, key: 1})
            message = str(caught.value)
            assert nearest in message
            assert 'did you mean' in message
            assert '\n' not in message
            assert cfg.pretty_text == before


def test_apply_options__path_that_leads_nowhere(original, subtests):
    for key, words in (
        ('param_scheduler.2.end', 'index from 0 to 1'),
        ('param_scheduler.end', 'index from 0 to 1'),
        ('model.backbone.depth.x', '18, not a dict'),
    ):
        with subtests.test(key):
            cfg = copy.deepcopy(original)
            with pytest.raises(ConfigError, match=words):
                apply_options(cfg, {key: 1})


def test_apply_options__plus_adds_a_new_key(cfg):
    apply_options(cfg, {'+model.backbone.dept': 1, '+mine.x': 2})
    assert cfg.model.backbone.dept == 1
    assert cfg.mine.x == 2


def test_apply_options__type_set_by_another_option_counts(cfg):
    options = {
        'optim_wrapper.loss_scale': 512.0,
        'optim_wrapper.type': 'AmpOptimWrapper',
    }
    apply_options(cfg, options)
    assert cfg.optim_wrapper.loss_scale == 512.0
    with pytest.raises(ConfigError, match='loss_scale'):
        apply_options(
            cfg,
            {
                'optim_wrapper.type': 'OptimWrapper',
                'optim_wrapper.loss_scal': 1,
            },
        )


def test_apply_options__nested_dict_merges_and_is_checked(cfg):
    apply_options(cfg, {'model': {'backbone': {'depth': 34}}})
    assert cfg.model.backbone == dict(type='ResNet', depth=34)
    with pytest.raises(
        ConfigError, match=r"did you mean 'model\.backbone\.de"
    ):
        apply_options(cfg, {'model': {'backbone': {'depht': 34}}})


def test_apply_options__data_root_moves_what_was_built_from_it(cfg):
    apply_options(cfg, {'data_root': '/new/place'})
    inner = cfg.train_dataloader.dataset.dataset
    assert cfg.data_root == '/new/place'
    assert inner.data_root == '/new/place'
    assert inner.ann_file == '/new/place/train.txt'
    assert cfg.test_dataloader.dataset.data_root == 'data/other'


def test_apply_options__deeper_path_wins_over_data_root(cfg):
    key = 'train_dataloader.dataset.dataset.data_root'
    apply_options(cfg, {key: 'mine', 'data_root': '/new'})
    assert cfg.train_dataloader.dataset.dataset.data_root == 'mine'


def test_apply_options__data_root_that_no_dataset_has_warns(cfg):
    cfg.data_root = 'unused'
    with pytest.warns(
        UserWarning, match="no dataset .* has the path 'unused'"
    ):
        apply_options(cfg, {'data_root': '/new'})


def test_apply_options__variable_that_reaches_nothing_is_refused(cfg):
    before = cfg.pretty_text
    with pytest.raises(ConfigError, match="'batch_size' is a vari") as caught:
        apply_options(cfg, {'batch_size': 8})
    assert 'set train_dataloader.batch_size (4)' in str(caught.value)
    assert cfg.pretty_text == before
    apply_options(cfg, {'+batch_size': 8})
    assert (cfg.batch_size, cfg.train_dataloader.batch_size) == (8, 4)


def test_load_config__reads_and_overrides(toy):
    cfg = load_config(toy, {'train_cfg.max_epochs': 1, 'model.width': 2})
    assert (cfg.train_cfg.max_epochs, cfg.model.width) == (1, 2)
    assert Path(cfg.filename) == toy


@pytest.mark.parametrize(
    ('line', 'nearest'),
    [
        ('optim_wraper = dict(clip_grad=None)', 'optim_wrapper'),
        ('trian_cfg = dict(max_epochs=1)', 'train_cfg'),
        ('train_dataloder = dict()', 'train_dataloader'),
        ('custom_hook = []', 'custom_hooks'),
        ('randomnes = dict(seed=1)', 'randomness'),
        ('env_cfg = dict(cudnn_benchmrk=True)', 'env_cfg.cudnn_benchmark'),
        (
            'default_hooks = dict(checkpiont=dict(interval=1))',
            'default_hooks.checkpoint',
        ),
        (
            'train_dataloader.update(num_worker=1)',
            'train_dataloader.num_workers',
        ),
        ('train_cfg = dict(max_epoch=1)', 'train_cfg.max_epochs'),
        ('randomness = dict(sede=1, deterministc=1)', 'deterministic'),
    ],
)
def test_load_config__misspelt_name_in_the_file(toy, line, nearest):
    toy.write_text(toy.read_text() + line + '\n')
    with pytest.raises(ConfigError, match='nothing reads') as caught:
        load_config(toy)
    assert f"{nearest}'?" in str(caught.value)


def test_load_config__syntax_error_names_file_and_line(toy):
    toy.write_text('a = 1\nb = (\n')
    with pytest.raises(ConfigError, match=r'toy.py, line 2: .*never closed'):
        load_config(toy)


def test_load_config__variables_of_the_user_are_allowed(toy):
    toy.write_text(
        toy.read_text() + 'my_root = 1\nwidth = 3\ntrain_set = 2\nlrs = []\n'
    )
    load_config(toy)


def test_check_file__no_false_alarm_in_the_other_packages():
    count = 0
    for package in ('mmpretrain', 'mmseg', 'mmdet'):
        try:
            root = Path(get_installed_path(package)) / '.mim' / 'configs'
        except Exception:
            continue
        files = sorted(glob.glob(f'{root}/**/*.py', recursive=True))
        files = [file for file in files if '_base_' not in file]
        for file in files[::80]:
            try:
                other = Config.fromfile(file, import_custom_modules=False)
            except (RuntimeError, FileNotFoundError):
                continue  # a config that its own package cannot read
            check_file(other, file)
            count += 1
    assert count > 10


def test_accepted_arguments__follows_kwargs_to_the_bases():
    from mmpretrain.datasets import CustomDataset

    names, is_open = accepted_arguments(CustomDataset)
    assert {'extensions', 'data_root', 'serialize_data', 'pipeline'} <= names
    assert not is_open

    def swallow(a, **kwargs):
        """Takes anything."""

    assert accepted_arguments(swallow) == ({'a'}, True)


def test_find_config__by_path_name_and_package(toy):
    assert find_config(toy) == toy
    for packaged in list_configs():
        assert find_config(packaged.stem) == packaged
        assert find_config(packaged.name) == packaged
    other = find_config('mmpretrain::resnet/resnet50_8xb32_in1k.py')
    assert other.is_file()


def test_find_config__names_the_nearest():
    name = list_configs()[0].stem
    with pytest.raises(FileNotFoundError, match=f"did you mean '{name}'"):
        find_config(name[:-1])
    with pytest.raises(FileNotFoundError, match='no file'):
        find_config('mmpretrain::resnet/nothing.py')
    with pytest.raises(FileNotFoundError, match='not installed'):
        find_config('nosuchpackage::x.py')


def test_list_configs__names_are_unique():
    # mim finds a config by its file name alone.
    names = [path.name for path in list_configs()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ('name', 'option', 'key'),
    [
        (
            'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k',
            'checkpoint',
            'model.backbone.init_cfg.checkpoint',
        ),
        (
            'cae_tiny-p8_1xb32-coslr-80e_digits-32px',
            'tokenizer',
            'model.target_generator.init_cfg.checkpoint',
        ),
    ],
)
def test_load_config__moves_weights_with_their_variable(name, option, key):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        cfg = load_config(name, {option: 'my.pth'})
    for part in key.split('.'):
        cfg = cfg[part]
    assert cfg == 'my.pth'
