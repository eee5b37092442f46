# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Build and start a Runner from a config and command-line options."""

from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmcae.config.components import check_components
from mmcae.config.overrides import ConfigError
from mmcae.config.values import check_values

# Scripts import these names, `clear_errors` and `run` from here.
from mmcae.launch.arguments import (
    CFG_OPTIONS_HELP as CFG_OPTIONS_HELP,
)
from mmcae.launch.arguments import StrictDictAction as StrictDictAction
from mmcae.launch.arguments import add_common_arguments as add_common_arguments
from mmcae.launch.console import ConsoleRunner, is_full
from mmcae.launch.distributed import (
    has_accelerator,
    setup_cpu_distributed,
)
from mmcae.launch.errors import clear_errors as clear_errors
from mmcae.launch.errors import loop_started
from mmcae.launch.errors import run as run
from mmcae.launch.fit import check_fit
from mmcae.launch.token_store import share_sampler_seed, use_token_store
from mmcae.launch.tolerant_logs import Runner as TolerantRunner


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


#: ``default_hooks.NAME=None`` means something to mmengine for these only.
_MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def leave_out_hooks(cfg: Config) -> None:
    """Let ``default_hooks.NAME=None`` switch off any hook of a recipe.

    mmengine fails with an empty AssertionError if the name is not its own.

    Args:
        cfg: Changed in place.
    """
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in _MMENGINE_HOOKS:
            hooks.pop(name)


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
    leave_out_hooks(cfg)
    share_sampler_seed(cfg)
    use_token_store(cfg)
    setup_cpu_distributed(cfg, cfg.get('launcher', 'none'))
    if cfg.get('runner_type', 'Runner') in ('Runner', 'mmcae.Runner'):
        runner = (TolerantRunner if is_full() else ConsoleRunner).from_cfg(cfg)
    else:
        runner = RUNNERS.build(cfg)
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
    from mmcae.engine.hooks.progress_hook import ProgressHook

    # The schedulers are built before any hook runs and need its length.
    require_batches(runner.train_loop.dataloader)
    progress = ProgressHook()
    if not is_full() and not any(
        isinstance(hook, ProgressHook) for hook in runner.hooks
    ):
        runner.register_hook(progress)
    try:
        runner.train()
    finally:
        progress.close()
