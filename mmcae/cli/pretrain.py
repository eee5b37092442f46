# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pretrain on a folder of images with one command.

    mmcae pretrain FOLDER
    mmcae pretrain FOLDER --time 2h --dry-run

It looks at the images and at this machine, prints a plan with its time and
its weak points, trains a tokenizer on the images, and then CAE. The same
command continues a run that was stopped. FOLDER may also be a text file that
names images, one a line.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HELP = 'pretrain on a folder of images'
SIZES = ('tiny', 'small', 'base', 'large')
TARGETS = ('dvae', 'dalle')
RECORD = 'plan.json'
_OPTIONS = {'seconds': '--time', 'num_heads': '--num-heads'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'folder', type=Path, help='images, in subfolders of any depth'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='where to write (default: work_dirs/pretrain_FOLDER)',
    )
    parser.add_argument(
        '--size',
        choices=SIZES,
        help='of the model (default: what suits the images and the machine)',
    )
    parser.add_argument(
        '--time',
        metavar='DURATION',
        help='for everything, as 90s, 20m, 2h or 1d; it decides how many '
        'epochs are trained (default: the usual steps of the size)',
    )
    parser.add_argument(
        '--target',
        choices=TARGETS,
        help='whose tokens CAE predicts: dvae, a tokenizer that is trained on '
        "the images first (default), or dalle, DALL-E's, which is downloaded",
    )
    parser.add_argument(
        '--start',
        metavar='WEIGHTS',
        help='continue from an encoder or a CAE: a file of mmcae, mmpretrain, '
        'timm or Hugging Face, a URL, mmcae://NAME or the name of a packaged '
        'config; the size is that of the file',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        metavar='N',
        help='attention heads of --start, if the file does not say it',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the plan and stop'
    )
    parser.add_argument(
        '--config-out',
        type=Path,
        metavar='FOLDER',
        help='write the configs that would run, and stop',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='make a new plan and start over in a folder that has a run',
    )


def main(args: argparse.Namespace) -> None:
    """Plan and train, or continue."""
    from mmcae.cli.planning.folder import look_at_folder
    from mmcae.cli.planning.plan import PlanError
    from mmcae.config.overrides import ConfigError

    _import_quietly()
    path = args.folder.expanduser()
    out = args.out or Path('work_dirs') / f'pretrain_{name_of(path)}'
    out = out.expanduser()
    stops = args.dry_run or args.config_out is not None
    if args.config_out is not None:
        _check_free(args.config_out.expanduser())
    try:
        asked = _asked(args)
        earlier = None if stops or args.overwrite else _read_record(out)
        if earlier is not None:
            _continue(earlier, asked, out)
            return
        folder = look_at_folder(path)
        plan = _make_plan(args, folder, out)
    except PlanError as error:
        raise ConfigError(str(error)) from error
    if args.config_out is not None:
        _write_only(plan, folder, args.config_out.expanduser(), out)
    if stops:
        return
    if args.overwrite:
        _remove_former(out)
    _write_run(plan, folder, out)
    record = dict(asked=asked, plan=asdict(plan), folder=asdict(folder))
    (out / RECORD).write_text(json.dumps(record, indent=2))
    _train(plan, folder, out)


def _import_quietly() -> None:
    """Import what prints when it is imported ("Could not import OneDL")."""
    from mmcae.false_alarms import without_false_alarms

    with without_false_alarms():
        import mmcae.datasets
        import mmcae.engine
        import mmcae.models  # noqa: F401


def _check_free(target: Path) -> None:
    """Configs that a user may have changed are not written over."""
    there = [n for n in ('tokenizer.py', 'cae.py') if (target / n).exists()]
    if there:
        raise FileExistsError(
            f'{target / there[0]} is there already; remove it or choose '
            'another folder for --config-out'
        )


def name_of(path: Path) -> str:
    """The folder's name in a form that suits a file name."""
    name = path.absolute().name if path.is_dir() else path.stem
    kept = ''.join(c if c.isalnum() or c in '-.' else '_' for c in name)
    return kept.strip('._') or 'images'


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """The options that decide the plan; None where none was given."""
    from mmcae.config.overrides import ConfigError
    from mmcae.utils.durations import parse_duration

    try:
        seconds = None if args.time is None else parse_duration(args.time)
    except ValueError as error:
        raise ConfigError(f'--time: {error}') from error
    return dict(
        folder=str(args.folder.expanduser().absolute()),
        size=args.size,
        seconds=seconds,
        target=args.target,
        start=args.start,
        num_heads=args.num_heads,
    )


def _read_record(out: Path) -> dict[str, Any] | None:
    from mmcae.checkpoint.work_dir import checkpoints_in
    from mmcae.config.overrides import ConfigError

    try:
        return json.loads((out / RECORD).read_text())
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise ConfigError(
            f'{out / RECORD} is damaged; remove it, or start over with '
            '--overwrite'
        ) from error
    for stage in ('tokenizer', 'cae'):
        if (out / stage).is_dir() and checkpoints_in(out / stage):
            raise ConfigError(
                f'{out / stage} has checkpoints, and {out} has no {RECORD}: '
                'choose another --out, or start over with --overwrite'
            )
    return None


def _continue(record: dict[str, Any], asked: dict[str, Any], out: Path):
    """Go on with the plan of an earlier command."""
    from mmcae.cli.planning.folder import Folder, count_images
    from mmcae.cli.planning.plan import Plan, Stage
    from mmcae.cli.planning.start import StartPlan
    from mmcae.config.overrides import ConfigError

    for name, value in asked.items():
        before = record['asked'].get(name)  # older plans know fewer
        if value not in (None, before):
            option = _OPTIONS.get(name, f'--{name}')
            what = 'folder' if name == 'folder' else option
            raise ConfigError(
                f'{out} has a run with another {what} ({before}). Choose '
                'another --out, start over with --overwrite, or leave the '
                'option out to continue that run'
            )
    folder = Folder(**record['folder'])
    now = count_images(Path(asked['folder']))
    if now != folder.images:
        raise ConfigError(
            f'{folder.name} had {folder.images:,} images when {out} was '
            f'planned, and has {now:,} now: a run continues with the images '
            'it began with. Choose another --out, or start over with '
            '--overwrite'
        )
    values = dict(record['plan'])
    for name in ('tokenizer', 'cae'):
        if values[name] is not None:
            values[name] = Stage(**values[name])
    if values.get('start') is not None:
        values['start'] = StartPlan(**values['start'])
    print(f'Continuing {out}')
    _train(Plan(**values), folder, out)


def _make_plan(args: argparse.Namespace, folder: Any, out: Path) -> Any:
    """Choose, measure, and print the plan."""
    import tempfile

    from mmcae.cli.planning import text
    from mmcae.cli.planning.choices import choose, smaller_batch
    from mmcae.cli.planning.length import set_length
    from mmcae.cli.planning.machine import look_at_machine
    from mmcae.cli.planning.plan import Request

    machine = look_at_machine(out)
    asked = _asked(args)
    start = _look_at_start(args)
    request = Request(
        args.size, asked['seconds'], args.target or 'dvae', start
    )
    plan = choose(folder, machine, request)
    with tempfile.TemporaryDirectory() as temporary:
        while True:
            try:
                measured = _measure(plan, folder, Path(temporary))
                break
            except MemoryError:
                plan = smaller_batch(plan)
    plan = replace(
        plan,
        cae=replace(plan.cae, seconds=measured['cae'].seconds),
        tokenizer=plan.tokenizer
        and replace(plan.tokenizer, seconds=measured['tokenizer'].seconds),
        memory=max(item.memory for item in measured.values()),
        threads=measured['cae'].threads,
    )
    plan = set_length(plan, request)
    waiting = measured['cae'].waiting
    print(text.describe(folder, machine, request, plan, waiting, out))
    return plan


def _look_at_start(args: argparse.Namespace) -> Any:
    """Read what `--start` names; None without it."""
    from mmcae.checkpoint.errors import StartError
    from mmcae.cli.planning.start import look_at_start
    from mmcae.cli.quiet import quiet
    from mmcae.config.overrides import ConfigError

    if args.start is None:
        if args.num_heads is not None:
            raise ConfigError('--num-heads belongs to --start: give that, too')
        return None
    try:
        with quiet():
            return look_at_start(args.start, args.target, args.num_heads)
    except StartError as error:
        raise ConfigError(str(error)) from error


def _measure(plan: Any, folder: Any, temporary: Path) -> dict[str, Any]:
    """Time a batch of each stage; MemoryError if a GPU has too little."""
    import torch

    from mmcae.cli.planning.configs import write_configs
    from mmcae.cli.planning.measure import measure
    from mmcae.cli.quiet import quiet

    # The length does not matter for the time of a batch.
    short = replace(plan, cae=replace(plan.cae, epochs=2, warmup_epochs=1))
    if plan.tokenizer is not None:
        tokenizer = replace(plan.tokenizer, epochs=2)
        short = replace(short, tokenizer=tokenizer)
    found = {}
    for name, content in write_configs(short, folder, temporary).items():
        (temporary / name).write_text(content, 'utf-8')
        try:
            with quiet():
                found[name.removesuffix('.py')] = measure(temporary / name)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError from error
    return found


def _write_only(plan: Any, folder: Any, target: Path, out: Path) -> None:
    """Write the configs and say how to run them."""
    from mmcae.cli.planning.configs import write_configs

    target.mkdir(parents=True, exist_ok=True)
    threads = f'OMP_NUM_THREADS={plan.threads} ' if plan.threads else ''
    print('Train with:')
    for name, content in write_configs(plan, folder, out).items():
        (target / name).write_text(content, 'utf-8')
        print(f'  {threads}mmcae train {target / name}')


def _write_run(plan: Any, folder: Any, out: Path) -> None:
    from mmcae.cli.planning.configs import write_configs, write_finetuning

    out.mkdir(parents=True, exist_ok=True)
    texts = write_configs(plan, folder, out)
    texts['finetune.py'] = write_finetuning(plan, folder, out)
    for name, content in texts.items():
        (out / name).write_text(content, 'utf-8')


def _remove_former(out: Path) -> None:
    """Remove the checkpoints of an earlier run.

    The new plan has been made and a step of each training has been taken, so
    a mistake in the command does not come this far.
    """
    from mmcae.checkpoint.durable import digest_file
    from mmcae.checkpoint.work_dir import POINTER, checkpoints_in

    (out / RECORD).unlink(missing_ok=True)
    for stage in ('tokenizer', 'cae'):
        if not (out / stage).is_dir():
            continue
        for path in checkpoints_in(out / stage):
            path.unlink(missing_ok=True)
            digest_file(path).unlink(missing_ok=True)
        (out / stage / POINTER).unlink(missing_ok=True)


def _train(plan: Any, folder: Any, out: Path) -> None:
    """Run the trainings that are not done."""
    import time

    import torch

    from mmcae.cli.planning import configs, text
    from mmcae.cli.planning.stage import run_stage

    if plan.threads:
        torch.set_num_threads(plan.threads)
    start = time.perf_counter()
    try:
        if plan.tokenizer is not None:
            checkpoint = configs.tokenizer_checkpoint(plan, out)
            run_stage('tokenizer', out / 'tokenizer.py', checkpoint)
        checkpoint = configs.cae_checkpoint(plan, out)
        run_stage('CAE', out / 'cae.py', checkpoint)
    except SystemExit as end:
        if isinstance(end.code, int) and end.code > 128:
            print('\nStopped. The same command continues the run.')
        raise
    seconds = time.perf_counter() - start
    print(text.next_steps(out, plan, folder, checkpoint, seconds))
