# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Train a classifier of your own classes from a pretrained encoder.

    mmcae finetune RUN/cae/epoch_150.pth FOLDER
    mmcae finetune RUN/cae/epoch_150.pth FOLDER --time 20m --dry-run

FOLDER has train/CLASS and val/CLASS, or CLASS: then a fifth of each class is
held out. The command prints a plan with its time and its weak points, trains,
and evaluates on the held-out images. The same command continues a run that
was stopped.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

HELP = 'train a classifier from a pretrained encoder'
RECORD = 'plan.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'checkpoint', help='of the encoder: a file, or mmcae://NAME'
    )
    parser.add_argument('folder', type=Path, help='a subfolder for each class')
    parser.add_argument(
        '--out',
        type=Path,
        help='where to write (default: work_dirs/finetune_FOLDER)',
    )
    parser.add_argument(
        '--time',
        metavar='DURATION',
        help='for everything, as 90s, 20m or 2h; it decides how many epochs '
        'are trained',
    )
    parser.add_argument(
        '--no-flip',
        action='store_true',
        help='do not mirror images, such as those of digits or letters',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the plan and stop'
    )
    parser.add_argument(
        '--config-out',
        type=Path,
        metavar='FOLDER',
        help='write the config that would run and its lists of images, and '
        'stop',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='make a new plan and start over in a folder that has a run',
    )


def main(args: argparse.Namespace) -> None:
    """Plan, train and evaluate, or continue."""
    from mmcae.cli.planning import finetuning
    from mmcae.cli.planning.plan import PlanError
    from mmcae.cli.pretrain import name_of
    from mmcae.config.overrides import ConfigError
    from mmcae.false_alarms import without_false_alarms

    with without_false_alarms():
        import mmcae.datasets
        import mmcae.engine
        import mmcae.models  # noqa: F401
    folder = args.folder.expanduser()
    out = args.out or Path('work_dirs') / f'finetune_{name_of(folder)}'
    out = out.expanduser()
    stops = args.dry_run or args.config_out is not None
    target = args.config_out.expanduser() if args.config_out else None
    if target is not None and (target / 'finetune.py').exists():
        raise FileExistsError(
            f'{target / "finetune.py"} is there already; remove it or choose '
            'another folder for --config-out'
        )
    try:
        asked = _asked(args, folder)
        if not stops and not args.overwrite and _is_started(out):
            _continue(asked, out)
            return
        plan, encoder, images = _make_plan(args, asked, folder, out)
    except PlanError as error:
        raise ConfigError(str(error)) from error
    if args.dry_run and target is None:
        return
    place = target or out
    if target is None and args.overwrite:
        _remove_former(out)
    finetuning.write_lists(images, place)
    config = finetuning.write_config(
        plan, encoder, images, asked['checkpoint'], place, out
    )
    (place / 'finetune.py').write_text(config, 'utf-8')
    if target is not None:
        threads = f'OMP_NUM_THREADS={plan.threads} ' if plan.threads else ''
        print(f'Train with:\n  {threads}mmcae train {target / "finetune.py"}')
        return
    record = dict(
        asked=asked,
        epochs=plan.stage.epochs,
        threads=plan.threads,
        images=len(images.train) + len(images.val),
    )
    (out / RECORD).write_text(json.dumps(record, indent=2))
    _train(record, out)


def _asked(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from mmcae.checkpoint.packaged import is_packaged
    from mmcae.config.overrides import ConfigError
    from mmcae.utils.durations import parse_duration

    try:
        seconds = None if args.time is None else parse_duration(args.time)
    except ValueError as error:
        raise ConfigError(f'--time: {error}') from error
    checkpoint = args.checkpoint
    if not is_packaged(checkpoint):
        checkpoint = str(Path(checkpoint).expanduser().absolute())
    return dict(
        checkpoint=checkpoint,
        folder=str(folder.absolute()),
        seconds=seconds,
        no_flip=args.no_flip or None,
    )


def _is_started(out: Path) -> bool:
    from mmcae.checkpoint.work_dir import checkpoints_in
    from mmcae.config.overrides import ConfigError

    if (out / RECORD).is_file():
        return True
    if (out / 'finetune').is_dir() and checkpoints_in(out / 'finetune'):
        raise ConfigError(
            f'{out / "finetune"} has checkpoints, and {out} has no {RECORD}: '
            'choose another --out, or start over with --overwrite'
        )
    return False


def _continue(asked: dict[str, Any], out: Path) -> None:
    """Go on with the plan of an earlier command."""
    from mmcae.config.overrides import ConfigError

    try:
        record = json.loads((out / RECORD).read_text())
        before = record['asked']
        files = [out / n for n in ('finetune.py', 'train.txt', 'val.txt')]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{out / RECORD} is damaged; remove it, or start over with '
            '--overwrite'
        ) from error
    for name, value in asked.items():
        if value not in (None, before[name]):
            what = {'seconds': '--time', 'no_flip': '--no-flip'}.get(
                name, name
            )
            raise ConfigError(
                f'{out} has a run with another {what} ({before[name]}). '
                'Choose another --out, start over with --overwrite, or leave '
                'the option out to continue that run'
            )
    root = Path(before['folder'])
    listed = [
        line.rsplit(' ', 1)[0]
        for file in files[1:]
        for line in file.read_text('utf-8').splitlines()
    ]
    missing = [name for name in listed if not (root / name).is_file()]
    if missing:
        raise ConfigError(
            f'{len(missing)} images of the run in {out} are not there any '
            f'more, the first is {root / missing[0]}: put them back, or '
            'start over with --overwrite'
        )
    print(f'Continuing {out}')
    _train(record, out)


def _remove_former(out: Path) -> None:
    """Remove the checkpoints of an earlier run; the new plan is made."""
    from mmcae.checkpoint.durable import digest_file
    from mmcae.checkpoint.work_dir import POINTER, checkpoints_in

    folder = out / 'finetune'
    (out / RECORD).unlink(missing_ok=True)
    if folder.is_dir():
        for path in checkpoints_in(folder):
            path.unlink(missing_ok=True)
            digest_file(path).unlink(missing_ok=True)
        (folder / POINTER).unlink(missing_ok=True)


def _make_plan(
    args: argparse.Namespace, asked: dict[str, Any], folder: Path, out: Path
) -> tuple[Any, Any, Any]:
    """Look, choose, measure, and print the plan."""
    import tempfile

    from mmcae.checkpoint.encoder_settings import encoder_settings
    from mmcae.cli.planning import finetuning, finetuning_text
    from mmcae.cli.planning.folder import look_at_folder
    from mmcae.cli.planning.machine import look_at_machine
    from mmcae.cli.planning.measure import measure
    from mmcae.cli.quiet import quiet

    encoder = encoder_settings(asked['checkpoint'], any_channels=True)
    seen = look_at_folder(folder)
    # Before the images are read: those of another kind would be unreadable.
    finetuning.check_kind(encoder, seen)
    images = finetuning.find_labeled(
        folder, channels=encoder.channels, value_range=encoder.value_range
    )
    machine = look_at_machine(out)
    plan = finetuning.choose(encoder, images, seen, machine, not args.no_flip)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        finetuning.write_lists(images, place)
        # The length does not matter for the time of a batch.
        short = replace(
            plan, stage=replace(plan.stage, epochs=2, warmup_epochs=1)
        )
        config = finetuning.write_config(
            short, encoder, images, asked['checkpoint'], place, place
        )
        (place / 'finetune.py').write_text(config, 'utf-8')
        with quiet():
            step = measure(place / 'finetune.py')
    plan = replace(
        plan,
        stage=replace(plan.stage, seconds=step.seconds),
        memory=step.memory,
        threads=step.threads,
    )
    plan = finetuning.set_length(plan, asked['seconds'])
    print(
        finetuning_text.describe(
            encoder, images, machine, plan, asked['seconds'], out
        )
    )
    return plan, encoder, images


def _train(record: dict[str, Any], out: Path) -> None:
    """Train if that is not done, evaluate, and say what comes next."""
    import time

    import torch

    from mmcae.cli.planning.finetuning_text import next_steps
    from mmcae.cli.planning.stage import run_stage
    from mmcae.config.overrides import load_config

    if record['threads']:
        torch.set_num_threads(record['threads'])
    start = time.perf_counter()
    checkpoint = out / 'finetune' / f'epoch_{record["epochs"]}.pth'
    try:
        run_stage('classifier', out / 'finetune.py', checkpoint)
    except SystemExit as end:
        if isinstance(end.code, int) and end.code > 128:
            print('\nStopped. The same command continues the run.')
        raise
    found = evaluate(out / 'finetune.py', checkpoint)
    (out / 'result.json').write_text(
        json.dumps(with_accuracy(found), indent=2)
    )
    cfg = load_config(out / 'finetune.py')
    seconds = time.perf_counter() - start
    kind = cfg.channels, cfg.value_range
    print(next_steps(out, checkpoint, found, seconds, *kind))


def with_accuracy(found: dict[str, Any]) -> dict[str, Any]:
    """The result with its accuracy, as ``result.json`` keeps it."""
    matrix = found['matrix']
    right = sum(row[i] for i, row in enumerate(matrix))
    return dict(accuracy=right / sum(map(sum, matrix)), **found)


def evaluate(config: Path, checkpoint: Path) -> dict[str, Any]:
    """Classify the held-out images.

    Args:
        config: Of the run.
        checkpoint: Of the classifier.

    Returns:
        ``classes``, and ``matrix``: the number of images by class (row) and
        prediction (column).
    """
    import torch
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner
    from mmpretrain import get_model

    from mmcae.cli.quiet import quiet
    from mmcae.config.overrides import load_config

    cfg = load_config(config)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with quiet(), DefaultScope.overwrite_default_scope('mmpretrain'):
        model = get_model(cfg, pretrained=str(checkpoint), device=device)
        loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
        model.eval()
        count = cfg.num_classes
        matrix = torch.zeros(count, count, dtype=torch.long)
        with torch.no_grad():
            for batch in loader:
                for sample in model.val_step(batch):
                    row = int(sample.gt_label)
                    matrix[row, int(sample.pred_label)] += 1
    return dict(classes=list(cfg.classes), matrix=matrix.tolist())
