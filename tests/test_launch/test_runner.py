# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Command-line options applied to a config."""

import argparse
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmcae.config.overrides import ConfigError
from mmcae.launch import runner as launch
from mmcae.launch import tta


def test_use_amp__keeps_the_settings():
    cfg = Config(
        dict(
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='SGD', lr=1.0),
                clip_grad=dict(max_norm=3.0),
            )
        )
    )
    before = dict(cfg.optim_wrapper)
    launch.use_amp(cfg)
    assert cfg.optim_wrapper.type == 'mmcae.AmpOptimWrapper'
    before.pop('type')
    assert {
        k: v for k, v in cfg.optim_wrapper.items() if k != 'type'
    } == before


@pytest.mark.parametrize('kind', ['AmpOptimWrapper', 'mmcae.AmpOptimWrapper'])
def test_use_amp__leaves_an_amp_wrapper_alone(kind):
    cfg = Config(dict(optim_wrapper=dict(type=kind, dtype='bfloat16')))
    launch.use_amp(cfg)
    assert cfg.optim_wrapper == dict(type=kind, dtype='bfloat16')


def test_use_amp__refuses_other_wrappers():
    with pytest.raises(ConfigError, match='ApexOptimWrapper'):
        launch.use_amp(
            Config(dict(optim_wrapper=dict(type='ApexOptimWrapper')))
        )
    with pytest.raises(ConfigError, match='no optim_wrapper'):
        launch.use_amp(Config({}))


def test_use_amp__the_wrapper_runs_on_this_machine():
    import torch
    from mmengine.registry import OPTIM_WRAPPERS

    layer = torch.nn.Linear(2, 2)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='mmcae.AmpOptimWrapper',
            optimizer=torch.optim.SGD(layer.parameters(), lr=0.1),
        )
    )
    with wrapper.optim_context(layer):
        out = layer(torch.ones(1, 2))
    assert out.dtype in (torch.bfloat16, torch.float16)


def test_set_work_dir__option_then_config_then_name():
    cfg = Config({})
    launch.set_work_dir(cfg, None, 'some/where/my_config.py')
    assert cfg.work_dir == 'work_dirs/my_config'
    launch.set_work_dir(cfg, None, 'other.py')
    assert cfg.work_dir == 'work_dirs/my_config'
    launch.set_work_dir(cfg, 'there', 'other.py')
    assert cfg.work_dir == 'there'


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg'])
def test_set_loader_defaults__only_where_the_configs_count_on_them(scope):
    cfg = Config(
        dict(
            default_scope=scope,
            train_dataloader=dict(num_workers=0, persistent_workers=True),
            val_dataloader=dict(num_workers=2),
        )
    )
    launch.set_loader_defaults(cfg)
    assert cfg.train_dataloader.persistent_workers is False
    collate = cfg.val_dataloader.get('collate_fn')
    if scope == 'mmpretrain':
        assert collate == dict(type='default_collate')
        assert cfg.val_dataloader.persistent_workers is True
    else:
        assert collate is None
        assert 'persistent_workers' not in cfg.val_dataloader
    launch.set_loader_defaults(cfg, pin_memory=False, persistent=False)
    assert cfg.val_dataloader.pin_memory is False
    assert cfg.val_dataloader.persistent_workers is False


@pytest.mark.parametrize(
    'text', ['nothing', '=3', '+=3', 'a=[1,2', 'a.b=(1,[2)']
)
def test_cfg_options__malformed_pair_is_a_usage_error(text, capsys):
    parser = argparse.ArgumentParser()
    launch.add_common_arguments(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(['--cfg-options', text])
    assert caught.value.code == 2
    assert '--cfg-options' in capsys.readouterr().err


def test_cfg_options__values_are_typed():
    parser = argparse.ArgumentParser()
    launch.add_common_arguments(parser)
    args = parser.parse_args(
        ['--cfg-options', 'a=1', 'b.c=[1,2]', 'd=None', 'e=x=y', '+f=true']
    )
    assert args.cfg_options == {
        'a': 1,
        'b.c': [1, 2],
        'd': None,
        'e': 'x=y',
        '+f': True,
    }


def test_add_flip_tta__wraps_model_and_pipeline():
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier'),
            test_dataloader=dict(
                dataset=dict(
                    type='CustomDataset',
                    pipeline=[dict(type='Load'), dict(type='PackInputs')],
                )
            ),
        )
    )
    tta.add_flip_tta(cfg)
    assert cfg.model.type == 'mmpretrain.AverageClsScoreTTA'
    assert cfg.model.module == dict(type='ImageClassifier')
    pipeline = cfg.test_dataloader.dataset.pipeline
    assert [item.type for item in pipeline] == ['Load', 'TestTimeAug']
    assert len(pipeline[1].transforms[0]) == 2
    with pytest.raises(ConfigError, match='mmdet'):
        tta.add_flip_tta(Config(dict(default_scope='mmdet')))


def test_train__refuses_a_loader_without_a_batch_before_it_starts():
    class FakeRunner:
        started = False

        def __init__(self, batch_size):
            loader = DataLoader(
                list(range(3)), batch_size=batch_size, drop_last=True
            )
            self.train_loop = SimpleNamespace(dataloader=loader)
            self.hooks = []

        def register_hook(self, hook):
            self.hooks.append(hook)

        def train(self):
            self.started = True

    small, enough = FakeRunner(4), FakeRunner(3)
    with pytest.raises(ValueError, match='3 training images do not fill'):
        launch.train(small)
    assert not small.started
    launch.train(enough)
    assert enough.started


def test_leave_out_hooks__any_of_a_recipe_but_mmengines():
    hooks = dict(report=None, stall=dict(type='A'), logger=None)
    cfg = Config(dict(default_hooks=hooks))
    launch.leave_out_hooks(cfg)
    assert cfg.default_hooks == dict(stall=dict(type='A'), logger=None)
    launch.leave_out_hooks(Config())
