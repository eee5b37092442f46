# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Test a checkpoint with a config of mmcae or of another OpenMMLab package."""

import argparse
import os
from pathlib import Path
from typing import Any

from mmcae.launch.arguments import add_common_arguments

HELP = 'test a checkpoint with a config'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'config', help='config file, or the name of a packaged config'
    )
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        '--work-dir',
        help='folder for logs and metrics (default: work_dirs/CONFIG_NAME)',
    )
    parser.add_argument(
        '--out', metavar='FILE', help='write the results to FILE'
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='pred',
        help='content of --out: metrics (.json, .yml, .pkl) or predictions '
        '(.pkl; the default)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation: with the config's tta_pipeline and "
        'tta_model, or else the mean over each image and its mirror image',
    )
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision'
    )
    parser.add_argument(
        '--show-dir', help='folder for images of the predictions'
    )
    parser.add_argument(
        '--show', action='store_true', help='show the predictions in a window'
    )
    parser.add_argument(
        '--interval',
        type=int,
        default=1,
        help='show every n-th sample (default: 1)',
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        help='seconds for which a window stays open (default: 2)',
    )
    add_common_arguments(parser)


def show_predictions(cfg: Any, args: argparse.Namespace) -> None:
    """Configure the hook that draws predictions, for --show and --show-dir."""
    from mmcae.config.overrides import ConfigError

    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError(
            '--show and --show-dir need default_hooks.visualization in the '
            'config'
        )
    scope = cfg.get('default_scope')
    hook['draw' if scope in ('mmseg', 'mmdet') else 'enable'] = True
    hook['interval'] = args.interval
    hook['wait_time'] = args.wait_time
    if args.show:
        hook['show'] = True
    if not args.show_dir:
        return
    if scope == 'mmseg':
        cfg.visualizer['save_dir'] = args.show_dir
    elif scope == 'mmdet':
        # mmdet would put a relative path below the work directory.
        hook['test_out_dir'] = str(Path(args.show_dir).absolute())
    else:
        hook['out_dir'] = args.show_dir


def main(args: argparse.Namespace) -> None:
    """Test as the options say."""
    from mmcae.config.overrides import ConfigError, load_config
    from mmcae.launch.runner import (
        build_runner,
        set_loader_defaults,
        set_work_dir,
    )
    from mmcae.launch.tta import add_flip_tta

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.out and args.out_item == 'pred' and not args.out.endswith('.pkl'):
        raise ConfigError(
            f"--out '{args.out}': predictions can only be written as .pkl; "
            'for .json, pass --out-item metrics'
        )
    cfg = load_config(args.config, args.cfg_options)
    if cfg.get('test_dataloader') is None:
        raise ConfigError(
            f"'{args.config}' has no test_dataloader: there is nothing to "
            'test (evaluate a pretrained encoder with a probe)'
        )
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint
    set_work_dir(cfg, args.work_dir, args.config)
    set_loader_defaults(cfg, not args.no_pin_memory)
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir:
        show_predictions(cfg, args)
    if args.tta:
        add_flip_tta(cfg)

    runner = build_runner(cfg)
    if args.out and args.out_item == 'pred':
        from mmengine.evaluator import DumpResults

        runner.test_evaluator.metrics.append(
            DumpResults(out_file_path=args.out)
        )
    metrics = runner.test()
    if args.out and args.out_item == 'metrics' and runner.rank == 0:
        import mmengine

        mmengine.dump(metrics, args.out)
