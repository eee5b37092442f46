# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run one training of a plan, and print one line of progress."""

import argparse
from pathlib import Path


def run_stage(title: str, config: Path, checkpoint: Path) -> None:
    """Run one training as `mmcae train CONFIG --resume`, but print less."""
    import contextlib
    import io

    from mmcae.checkpoint.work_dir import checkpoints_in
    from mmcae.cli import train as train_verb
    from mmcae.cli.planning.progress import StageHook, silence_console
    from mmcae.cli.planning.text import verdict
    from mmcae.launch.runner import build_runner, train

    if checkpoint.is_file():
        print(f'{title}: done ({checkpoint.name})')
        return
    parser = argparse.ArgumentParser()
    train_verb.add_arguments(parser)
    words = [str(config)]
    folder = checkpoint.parent
    if folder.is_dir() and checkpoints_in(folder):
        words.append('--resume')
    cfg, hooks = train_verb.prepare(parser.parse_args(words))
    # The Runner dumps the environment and the whole config.
    with contextlib.redirect_stdout(io.StringIO()):
        runner = build_runner(cfg)
    silence_console(runner)
    progress = StageHook(title)
    for hook in (*hooks, progress):
        runner.register_hook(hook)
    train(runner)
    for sentence in verdict(progress.final):
        print(f'weak       {sentence}')
