# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Train with a config of mmcae, mmpretrain, mmsegmentation or mmdetection."""

import argparse
import os
from typing import Any

from mmcae.launch.arguments import add_common_arguments

HELP = 'train with a config'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'config', help='config file, or the name of a packaged config'
    )
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints (default: '
        'work_dirs/CONFIG_NAME)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint; without a path (or with "auto"), from '
        'the newest good one in the work dir',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start over in a work dir that has checkpoints, and remove them',
    )
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='multiply the learning rate by the actual batch size divided by '
        "the config's auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        '--no-validate',
        action='store_true',
        help='do not evaluate during training',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='restart the data-loading workers in each epoch',
    )
    add_common_arguments(parser)


def main(args: argparse.Namespace) -> None:
    """Train as the options say."""
    from mmcae.launch.runner import build_runner, train

    cfg, hooks = prepare(args)
    runner = build_runner(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    train(runner)


def prepare(args: argparse.Namespace) -> tuple[Any, list[Any]]:
    """Read the config and apply the options.

    Args:
        args: As `add_arguments` defines them.

    Returns:
        The config, and hooks that the Runner needs. The work dir belongs to
        this process from now on.
    """
    from mmcae.config.overrides import ConfigError, load_config
    from mmcae.launch.runner import (
        set_loader_defaults,
        set_work_dir,
        use_amp,
    )
    from mmcae.launch.work_dir import claim_work_dir, resume_newest

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir, args.config)
    set_loader_defaults(
        cfg, not args.no_pin_memory, not args.no_persistent_workers
    )
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        use_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(
                '--auto-scale-lr: the config has no '
                'auto_scale_lr.base_batch_size'
            )
        cfg.auto_scale_lr.enable = True
    # torchrun restarts a failed job with the same options. The job has to
    # resume then, although --resume is not among them.
    restarted = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')) > 0
    if args.resume == 'auto' or (args.resume is None and restarted):
        resume_newest(cfg)
    elif args.resume is not None:
        cfg.resume, cfg.load_from = True, args.resume
    return cfg, claim_work_dir(cfg, args.overwrite)
