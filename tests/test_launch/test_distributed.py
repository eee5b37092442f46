# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Start-up of several processes without a GPU."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS

from mmcae.config.overrides import ConfigError
from mmcae.launch import distributed


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(distributed, 'has_accelerator', lambda: False)
    # The code under test writes to the environment: put it back.
    before = dict(os.environ)
    for names in distributed.RANK_VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'SLURM_NODELIST'):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    os.environ.clear()
    os.environ.update(before)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def set_ranks(monkeypatch, launcher, port):
    names = distributed.RANK_VARIABLES[launcher]
    for name, value in zip(names, ('0', '1', '0'), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('MASTER_PORT', str(port))


def free_port() -> int:
    import socket

    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def test_setup_cpu_distributed__nothing_without_launcher(cpu_only):
    cfg = Config({})
    assert not distributed.setup_cpu_distributed(cfg, 'none')
    assert cfg.to_dict() == {}


def test_setup_cpu_distributed__nothing_with_an_accelerator(monkeypatch):
    monkeypatch.setattr(distributed, 'has_accelerator', lambda: True)
    cfg = Config({})
    assert not distributed.setup_cpu_distributed(cfg, 'pytorch')
    assert cfg.to_dict() == {}
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_setup_cpu_distributed__starts_gloo(cpu_only, launcher):
    set_ranks(cpu_only, launcher, free_port())
    cfg = Config(
        dict(
            env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=60)),
            find_unused_parameters=True,
        )
    )
    assert distributed.setup_cpu_distributed(cfg, launcher)
    assert torch.distributed.get_backend() == 'gloo'
    assert cfg.env_cfg.dist_cfg == dict(backend='gloo', timeout=60)
    assert cfg.model_wrapper_cfg == dict(
        type='mmcae.CPUDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=True,
    )
    # Synchronized layers, which PyTorch has for GPUs only, become plain.
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1), torch.nn.SyncBatchNorm(4)
    )
    weight = layers[1].weight
    model = MODEL_WRAPPERS.build(dict(cfg.model_wrapper_cfg, module=layers))
    model(torch.rand(2, 3, 5, 5)).sum().backward()
    assert model.module[1].weight is weight
    assert weight.grad is not None


def test_setup_cpu_distributed__keeps_the_wrapper_of_the_config(cpu_only):
    set_ranks(cpu_only, 'pytorch', free_port())
    cfg = Config(dict(model_wrapper_cfg=dict(static_graph=True)))
    distributed.setup_cpu_distributed(cfg, 'pytorch')
    assert cfg.model_wrapper_cfg == dict(static_graph=True, device_ids=None)
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'


def test_setup_cpu_distributed__knows_the_wrappers_name_of_earlier_runs(
    cpu_only,
):
    set_ranks(cpu_only, 'pytorch', free_port())
    name = 'CPUDistributedDataParallel'
    assert MODEL_WRAPPERS.get(name) is None
    cfg = Config(dict(model_wrapper_cfg=dict(type=name)))
    distributed.setup_cpu_distributed(cfg, 'pytorch')
    assert cfg.model_wrapper_cfg == dict(type=f'mmcae.{name}', device_ids=None)


@pytest.mark.parametrize(
    ('launcher', 'command'),
    [('pytorch', 'torchrun'), ('slurm', 'srun'), ('mpi', 'mpirun')],
)
def test_setup_cpu_distributed__names_missing_variables(
    cpu_only, launcher, command
):
    with pytest.raises(ConfigError, match=command) as caught:
        distributed.setup_cpu_distributed(Config({}), launcher)
    assert distributed.RANK_VARIABLES[launcher][0] in str(caught.value)


def test_setup_cpu_distributed__slurm_without_scontrol(cpu_only):
    set_ranks(cpu_only, 'slurm', free_port())
    cpu_only.delenv('MASTER_ADDR')
    cpu_only.setenv('SLURM_NODELIST', 'node[1-2]')
    cpu_only.setenv('PATH', '')
    with pytest.raises(RuntimeError, match='set MASTER_ADDR'):
        distributed.setup_cpu_distributed(Config({}), 'slurm')


def test_leave_process_group__also_where_there_is_none(cpu_only):
    distributed.leave_process_group()
    set_ranks(cpu_only, 'pytorch', free_port())
    distributed.setup_cpu_distributed(Config({}), 'pytorch')
    assert torch.distributed.is_initialized()
    distributed.leave_process_group()
    assert not torch.distributed.is_initialized()
