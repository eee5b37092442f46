# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Several processes on a machine without a GPU.

mmengine's launcher selects a CUDA device even for gloo, and its default DDP
wrapper passes ``device_ids``; both fail where torch is a CUDA build but no GPU
is present. On machines with an accelerator, this module does nothing.
"""

import datetime
import os
import subprocess
import time
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import (
    is_mlu_available,
    is_musa_available,
    is_npu_available,
)
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from torch import nn
from torch.distributed import (
    PrefixStore,
    destroy_process_group,
    init_process_group,
)
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from mmcae.config.check import ConfigError
from mmcae.registry import MODEL_WRAPPERS

#: The variables in which each launcher gives rank, world size and local rank.
RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}


def has_accelerator() -> bool:
    """Whether this machine has a device that mmengine's launcher selects."""
    return (
        torch.cuda.is_available()
        or is_npu_available()
        or is_mlu_available()
        or is_musa_available()
    )


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper for a model on CPUs.

    PyTorch synchronizes batch normalization on GPUs only and refuses to wrap
    such layers elsewhere, so here each process normalizes its own batch.

    Args:
        module: The model.
        **kwargs: As for mmengine's wrapper.
    """

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        super().__init__(revert_sync_batchnorm(module), **kwargs)


def setup_cpu_distributed(cfg: Config, launcher: str) -> bool:
    """Start gloo and prepare the config, if there is no accelerator.

    The Runner uses a process group that exists already, so a script only has
    to call this before it builds the Runner.

    Args:
        cfg: Gets ``env_cfg.dist_cfg.backend = 'gloo'`` and a
            ``model_wrapper_cfg`` without devices, in place.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        Whether anything was done.

    Raises:
        ConfigError: If the launcher's environment variables are missing.
    """
    if launcher == 'none' or has_accelerator():
        return False
    if not is_distributed():
        _export_ranks(launcher)
        seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        store, number, world_size = next(rendezvous('env://'))
        # torchrun keeps its store when it restarts the processes. Under the
        # same keys, a new process could read the address of an old one.
        attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        init_process_group(
            backend='gloo',
            store=PrefixStore(f'attempt_{attempt}', store),
            rank=number,
            world_size=world_size,
            timeout=None
            if seconds is None
            else datetime.timedelta(seconds=seconds),
        )
    env_cfg = cfg.setdefault('env_cfg', ConfigDict())
    env_cfg.setdefault('dist_cfg', ConfigDict())['backend'] = 'gloo'
    _wrap_without_devices(cfg)
    return True


def rank() -> str | None:
    """This process's number as its launcher gives it; None if it is alone."""
    return os.environ.get('RANK') or os.environ.get('SLURM_PROCID')


def leave_process_group() -> None:
    """Leave the process group at the end of a successful run.

    Gloo's threads release the tensors of the last collective shortly after it
    is done, and need Python's global lock for that. If the interpreter closes
    before they have it, the process aborts ("terminate called without an
    active exception", status -6) although all work is done. Destroying the
    group waits for the threads only if nothing else refers to the group, but
    a DDP model does until the process ends. So this function also sleeps for
    a moment, which gives the lock to the threads.
    """
    if not is_distributed():
        return
    destroy_process_group()
    time.sleep(0.1)


def _wrap_without_devices(cfg: Config) -> None:
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:
        # mmengine's defaults, but without devices and with our wrapper.
        cfg.model_wrapper_cfg = ConfigDict(
            type='mmcae.CPUDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        return
    kind = wrapper.get('type', 'MMDistributedDataParallel')
    if kind == 'CPUDistributedDataParallel':  # from an earlier run's config
        wrapper['type'] = kind = 'mmcae.CPUDistributedDataParallel'
    if isinstance(kind, str):
        kind = MODEL_WRAPPERS.get(kind)
    if isinstance(kind, type) and issubclass(kind, DistributedDataParallel):
        wrapper['device_ids'] = None


def _export_ranks(launcher: str) -> None:
    """Set the variables that torch's ``env://`` initialization reads."""
    missing = [
        name for name in RANK_VARIABLES[launcher] if name not in os.environ
    ]
    if missing:
        command = {'pytorch': 'torchrun', 'slurm': 'srun', 'mpi': 'mpirun'}
        raise ConfigError(
            f'--launcher {launcher} needs {", ".join(missing)} in the '
            f'environment; start the script through {command[launcher]} '
            '(tools/dist_train.sh, tools/slurm_train.sh) or use '
            '--launcher none'
        )
    for target, source in zip(
        RANK_VARIABLES['pytorch'], RANK_VARIABLES[launcher], strict=True
    ):
        os.environ[target] = os.environ[source]
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = (
            _first_slurm_host() if launcher == 'slurm' else '127.0.0.1'
        )
    os.environ.setdefault('MASTER_PORT', '29500')


def _first_slurm_host() -> str:
    nodes = os.environ.get('SLURM_NODELIST', '')
    try:
        names = subprocess.run(
            ['scontrol', 'show', 'hostnames', nodes],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            f"cannot expand SLURM_NODELIST='{nodes}' with scontrol; set "
            'MASTER_ADDR to the first host'
        ) from error
    if not names:
        raise RuntimeError('SLURM_NODELIST is empty; set MASTER_ADDR')
    return names[0]
