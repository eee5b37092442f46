# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the hooks and loops of reliability cost, as a ratio of step times.

Two runs of the same training are made in one process: one with our hooks of
reliability, loop and Runner, the other with mmengine's in their place. They
take turns in blocks of steps. Times are processor times of the training's
thread, so other programs on the machine hardly matter.
Each block gives a median time of a step; the ratio is the median over pairs
of neighboring blocks. Saving is not part of a step: no checkpoint falls into
a block.

    python benchmarks/hook_costs.py            # both models, a few minutes
    python benchmarks/hook_costs.py --write    # and docs/reliability.md
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tests'))

from faults.runs import make_images  # noqa: E402
from helpers.token_runs import config  # noqa: E402
from speed.machine import describe_machine, machine_line  # noqa: E402

from mmcae.launch.runner import build_runner  # noqa: E402

DOCS = ROOT / 'docs/reliability.md'
MARKS = '<!-- costs: written by hook_costs.py -->', '<!-- end of costs -->'
#: Width, layers, heads, image, patch, masked patches, batch, steps a block.
MODELS = {
    'digits': (96, 6, 4, 32, 8, 8, 32, 8),
    'small': (384, 12, 6, 224, 16, 75, 2, 2),
}
OURS: dict[str, Any] = dict(
    runtime_info=dict(type='mmcae.RuntimeInfoHook'),
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='mmcae.CheckpointHook', interval=10**6),
    signal=dict(type='mmcae.SignalHook'),
    non_finite=dict(type='mmcae.NonFiniteHook'),
    loss_band=dict(type='mmcae.LossBandHook'),
    stall=dict(type='mmcae.StallHook'),
)
THEIRS: dict[str, Any] = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=10**6),
)


class Turns(Hook):
    """A training in a thread of its own, which runs a block when it is told.

    Args:
        cfg: The training.
        steps: The size of a block.
    """

    priority = 'VERY_HIGH'

    def __init__(self, cfg: Config, steps: int) -> None:
        self.steps = steps
        self.times: list[float] = []
        self._start: float | None = None
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._runner = build_runner(cfg)
        self._runner.register_hook(self)
        self._thread = threading.Thread(target=self._runner.train)
        self._thread.start()

    def before_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        """End the former step, with all hooks and the loading of data."""
        now = time.thread_time()
        if self._start is not None:
            self.times.append(now - self._start)
        if runner.iter % self.steps == 0:
            if runner.iter:
                self._done.release()
            self._go.acquire()
        self._start = time.thread_time()

    def advance(self) -> float:
        """Run a block; return the median time of its steps."""
        self._go.release()
        self._done.acquire()
        return statistics.median(self.times[-self.steps :])

    def finish(self) -> None:
        """Let the training end."""
        self._go.release()
        self._thread.join()


def make_config(
    name: str, folder: Path, with_ours: bool, steps: int
) -> Config:
    """Configure a training of some steps."""
    width, layers, heads, size, patch, masked, batch, _ = MODELS[name]
    cfg = config(folder / 'photos', folder / f'run{with_ours}')
    arch = cfg.model.backbone.arch
    arch.update(
        embed_dims=width,
        num_layers=layers,
        num_heads=heads,
        feedforward_channels=4 * width,
    )
    cfg.model.backbone.update(img_size=size, patch_size=patch)
    cfg.model.neck.update(
        embed_dims=width, num_heads=heads, regressor_depth=2, decoder_depth=2
    )
    loader = cfg.train_dataloader
    loader.update(batch_size=batch, drop_last=True)
    loader.sampler.type = 'mmcae.SeededInfiniteSampler'
    crop, mask = loader.dataset.pipeline[2], loader.dataset.pipeline[3]
    crop.update(size=size, second_size=size // patch * 8)
    mask.update(input_size=size // patch, num_masking_patches=masked)
    loop = 'mmcae.IterBasedTrainLoop' if with_ours else 'IterBasedTrainLoop'
    cfg.train_cfg = dict(type=loop, max_iters=steps)
    cfg.optim_wrapper = dict(
        type='mmcae.OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-4),
        clip_grad=dict(max_norm=3.0),
    )
    cfg.default_hooks = dict(OURS if with_ours else THEIRS)
    data = [dict(type='mmcae.DataHealthHook')]
    cfg.custom_hooks = data if with_ours else []
    cfg.runner_type = 'mmcae.Runner' if with_ours else 'Runner'
    cfg.experiment_name = f'{name} {with_ours}'
    cfg.log_level = 'ERROR'
    return cfg


def measure(name: str, pairs: int) -> tuple[float, list[float]]:
    """Train with and without in turns.

    Returns:
        The median time of a step without, and the ratio of each pair.
    """
    steps = MODELS[name][-1]
    plain, ratios = [], []
    with tempfile.TemporaryDirectory() as where:
        make_images(Path(where))
        runs = {
            ours: Turns(
                make_config(name, Path(where), ours, steps * (pairs + 1) + 1),
                steps,
            )
            for ours in (False, True)
        }
        for pair in range(pairs + 1):
            order = (False, True) if pair % 2 else (True, False)
            times = {ours: runs[ours].advance() for ours in order}
            if pair:  # the first blocks are a warm-up
                plain.append(times[False])
                ratios.append(times[True] / times[False])
        for run in runs.values():
            run.finish()
    return statistics.median(plain), ratios


def table(names: list[str], pairs: int) -> str:
    """Measure, and format for Markdown."""
    lines = [
        '| model | step without | with / without | middle half of the pairs |',
        '|---|---|---|---|',
    ]
    for name in names:
        plain, ratios = measure(name, pairs)
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(
            f'| {name} | {1000 * plain:.1f} ms | {middle:.3f} '
            f'| {low:.3f} to {high:.3f} |'
        )
        print(lines[-1], flush=True)
    machine = machine_line(describe_machine(torch.device('cpu')))
    return '\n'.join([*lines, '', f'{pairs} pairs of blocks. {machine}.'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', nargs='+', choices=MODELS, default=[*MODELS])
    parser.add_argument('--pairs', type=int, default=20)
    parser.add_argument('--write', action='store_true', help='into the docs')
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = table(args.only, args.pairs)
    print(f'\n{text}')
    if args.write:
        start, end = MARKS
        head, rest = DOCS.read_text().split(start)
        DOCS.write_text(f'{head}{start}\n{text}\n{end}{rest.split(end)[1]}')


if __name__ == '__main__':
    main()
