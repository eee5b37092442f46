# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Build and start a Runner from a config and command-line options."""

import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmcae.config.components import check_components
from mmcae.config.option_text import Options
from mmcae.config.overrides import ConfigError
from mmcae.config.values import check_values
from mmcae.launch.distributed import (
    has_accelerator,
    setup_cpu_distributed,
)

# Scripts import `clear_errors` and `run` from here.
from mmcae.launch.errors import clear_errors as clear_errors
from mmcae.launch.errors import loop_started
from mmcae.launch.errors import run as run
from mmcae.launch.fit import check_fit
from mmcae.launch.token_store import share_sampler_seed, use_token_store

CFG_OPTIONS_HELP = (
    'override settings of the config: key=value pairs with dotted keys, e.g. '
    'train_dataloader.batch_size=64 param_scheduler.0.end=5. A list is '
    'key="[a,b]" or key=a,b; nested: key="[(a,b),(c,d)]". A value that is '
    'text in the config stays text, with blanks and commas: '
    '"data_root=My Photos, 2026"; in other places, and in lists, quote such '
    'text: key="[\'a, b\',c]". A key that nothing reads is an error; '
    '+key=value adds one on purpose. A variable of the config file '
    '(data_root, max_epochs, batch_size, ...) changes every value that the '
    'file computes from it.'
)


class StrictDictAction(DictAction):
    """mmengine's ``DictAction``, but it keeps blanks and explains errors."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Collect ``key=value`` pairs; see :mod:`mmcae.config.option_text`."""
        options = getattr(namespace, self.dest, None) or Options()
        for pair in values or ():
            if not pair.partition('=')[0].strip('+ ') or '=' not in pair:
                parser.error(f"{option_string}: '{pair}' is not key=value")
            try:
                options.add(pair)
            except ValueError as error:
                parser.error(f'{option_string}: {error}')
        setattr(namespace, self.dest, options)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=StrictDictAction,
        metavar='KEY=VALUE',
        help=CFG_OPTIONS_HELP,
    )
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='do not pin the memory of batches',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of this job were started',
    )
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help=argparse.SUPPRESS,
    )


def set_work_dir(cfg: Config, work_dir: str | None, config: str) -> None:
    """Set ``work_dir``: the option, else the config's, else its name."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)


def use_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper to mixed precision, keeping its settings.

    ``mmcae.AmpOptimWrapper`` also works without a GPU (bf16 autocast).

    Raises:
        ConfigError: If the config's wrapper is of another kind.
    """
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        raise ConfigError('--amp: the config has no optim_wrapper')
    kind = wrapper.get('type', 'OptimWrapper')
    name = kind if isinstance(kind, str) else kind.__name__
    name = name.split('.')[-1]
    if name == 'OptimWrapper':
        wrapper['type'] = 'mmcae.AmpOptimWrapper'
    elif name != 'AmpOptimWrapper':
        raise ConfigError(
            f"--amp needs optim_wrapper.type='OptimWrapper', the config has "
            f"'{name}'"
        )


def set_loader_defaults(
    cfg: Config, pin_memory: bool = True, persistent: bool = True
) -> None:
    """Give data loaders the defaults that OpenMMLab's tools give them.

    mmpretrain's configs leave the collate function to its tools. Configs of
    other scopes keep mmengine's default.

    Args:
        cfg: Changed in place.
        pin_memory: ``False`` forbids pinned memory.
        persistent: ``False`` forbids persistent workers.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not isinstance(loader, dict):  # `check_values` refuses the rest
            continue
        workers = loader.get('num_workers', 0)
        if not isinstance(workers, int):
            continue
        if cfg.get('default_scope') in ('mmpretrain', 'mmcae'):
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
            loader.setdefault('pin_memory', has_accelerator())
            loader.setdefault('persistent_workers', workers > 0)
        if workers == 0:  # DataLoader refuses the combination
            loader['persistent_workers'] = False
        if not pin_memory:
            loader['pin_memory'] = False
        if not persistent:
            loader['persistent_workers'] = False


def build_runner(cfg: Config) -> Runner:
    """Build the Runner that a config describes, on any kind of machine.

    Args:
        cfg: A complete config with ``work_dir`` and ``launcher``.

    Returns:
        The Runner with its model; nothing has started yet.

    Raises:
        ConfigError: If a value is wrong. No image has been read by then.
    """
    check_values(cfg)
    check_components(cfg)
    share_sampler_seed(cfg)
    use_token_store(cfg)
    setup_cpu_distributed(cfg, cfg.get('launcher', 'none'))
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    check_fit(cfg, runner.model)
    runner.register_hook(loop_started)
    return runner


def train(runner: Runner) -> None:
    """Train, after a check that mmengine does not make.

    Raises:
        ValueError: If the data loader yields no batch.
    """
    # Not at the top: the datasets import mmpretrain, which takes seconds.
    from mmcae.engine.hooks.data_health_hook import require_batches

    # The schedulers are built before any hook runs and need its length.
    require_batches(runner.train_loop.dataloader)
    runner.train()
