# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Inject faults into real trainings and count what survives.

Every row trains a small CAE (with drop path) on generated images through the
same code as `tools/train.py`. The command prints one table of promises, with
the number of injected faults and of those that were survived, and writes it
to `--out`. The exit status is 1 if a promise is broken.

    python benchmarks/reliability.py              # all, half an hour
    python benchmarks/reliability.py --only kills --kills 20
    python benchmarks/reliability.py --write      # and docs/reliability.md
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tests'))

import mmengine  # noqa: E402
from helpers import token_runs  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.logging import MessageHub, MMLogger  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from mmengine.visualization import Visualizer  # noqa: E402
from PIL import Image  # noqa: E402

from mmcae.checkpoint.durable import digest_file  # noqa: E402
from mmcae.checkpoint.errors import CheckpointError  # noqa: E402
from mmcae.checkpoint.work_dir import (  # noqa: E402
    checkpoints_in,
    choose_checkpoint,
    newest_good,
)
from mmcae.config.overrides import ConfigError  # noqa: E402
from mmcae.engine import CheckpointHook  # noqa: E402
from mmcae.launch.runner import build_runner  # noqa: E402
from mmcae.launch.work_dir import claim_work_dir, resume_newest  # noqa: E402

DOCS = ROOT / 'docs/reliability.md'
MARKS = '<!-- reliability: written by `make reliability` -->', '<!-- end -->'
IMAGES = 40
BATCH = 4
EPOCH = IMAGES // BATCH


class Row(NamedTuple):
    """One promise.

    Attributes:
        promise: What is promised.
        injected: How many faults, or comparisons.
        survived: How many of them kept the promise.
        notes: Figures.
    """

    promise: str
    injected: int
    survived: int
    notes: str


class Settings(NamedTuple):
    """What the rows share: a folder, and how many kills and iterations."""

    folder: Path
    kills: int
    soak: int


def make_images(folder: Path) -> Path:
    """Write JPEGs of colored noise in soft blocks."""
    rng = np.random.default_rng(0)
    photos = folder / 'photos'
    photos.mkdir(parents=True)
    for number in range(IMAGES):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((48, 48), Image.BICUBIC)
        image.save(photos / f'{number:03}.jpg', quality=90)
    return photos


class Record(Hook):
    """Keeps the losses; stops after an iteration if asked to.

    Args:
        stop: The number of finished iterations after which to stop.
    """

    priority = 'LOWEST'

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.losses: list[float] = []
        self.began: float | None = None

    def before_train_iter(self, runner: Any, *args: Any, **kw: Any) -> None:
        self.began = self.began or time.perf_counter()

    def after_train_iter(
        self, runner: Any, *args: Any, outputs: Any = None, **kw: Any
    ) -> None:
        self.losses.append(float(outputs['loss'].detach()))
        if runner.iter + 1 == self.stop:
            hooks = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
            hooks[0].save_now(runner)
            raise StoppedError


class StoppedError(Exception):
    """A run was stopped on purpose."""


def make_config(
    photos: Path, work_dir: Path, by_epoch: bool = True, **options: Any
) -> Config:
    """Configure a training of three epochs, or of as many iterations."""
    cfg = token_runs.config(photos, work_dir)
    cfg.default_hooks = dict(
        checkpoint=dict(
            type='mmcae.CheckpointHook',
            by_epoch=by_epoch,
            interval=1 if by_epoch else EPOCH,
        )
    )
    cfg.train_cfg = (
        dict(type='mmcae.EpochBasedTrainLoop', max_epochs=3)
        if by_epoch
        else dict(type='mmcae.IterBasedTrainLoop', max_iters=3 * EPOCH)
    )
    if not by_epoch:
        cfg.train_dataloader.sampler.type = 'mmcae.SeededInfiniteSampler'
    cfg.custom_hooks = [dict(type='mmcae.SignalHook')]
    cfg.log_level = 'ERROR'
    cfg.merge_from_dict(options)
    return cfg


def train(cfg: Config, stop: int | None = None) -> tuple[Record, Any]:
    """Train in this process; return the record and the runner."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    record = Record(stop)
    runner = build_runner(cfg)
    runner.register_hook(record)
    with suppress(StoppedError):
        runner.train()
    iterator = runner.train_dataloader._iterator
    if hasattr(iterator, '_shutdown_workers'):
        iterator._shutdown_workers()
    return record, runner


def resume_rows(settings: Settings) -> Iterator[Row]:
    """Compare resumed runs with uninterrupted ones."""
    photos = make_images(settings.folder / 'resume')
    variants: dict[str, dict] = {
        'plain': {},
        'bfloat16': {'optim_wrapper.type': 'mmcae.AmpOptimWrapper'},
        'copied teacher': {'model.target_encoder': 'copy'},
        'accumulation over 4': {'optim_wrapper.accumulative_counts': 4},
    }
    losses = equal = runs = weights = 0
    for name, options in variants.items():
        for by_epoch in (True, False):
            where = settings.folder / 'resume' / f'{name}{by_epoch}'
            whole, end = train(
                make_config(photos, where / 'whole', by_epoch, **options)
            )
            for stop in (EPOCH, EPOCH + 7):
                for workers in (0, 2) if name == 'plain' else (0,):
                    options['train_dataloader.num_workers'] = workers
                    cfg = make_config(
                        photos,
                        where / f'{stop}-{workers}',
                        by_epoch,
                        **options,
                    )
                    before, _ = train(cfg.copy(), stop)
                    cfg.resume = True
                    after, resumed = train(cfg)
                    both = before.losses + after.losses
                    pairs = zip(both, whole.losses, strict=False)
                    equal += sum(a == b for a, b in pairs)
                    losses += len(whole.losses)
                    runs += 1
                    weights += len(both) == len(whole.losses) and all(
                        torch.equal(a, b)
                        for a, b in zip(
                            resumed.model.state_dict().values(),
                            end.model.state_dict().values(),
                            strict=True,
                        )
                    )
    yield Row(
        'a resumed run has the losses of an uninterrupted one',
        losses,
        equal,
        f'{runs} runs: both loops, end and middle of an epoch, 0 and 2 '
        'workers, drop path, ' + ', '.join(list(variants)[1:]),
    )
    yield Row(
        'and its final weights, after exactly the planned iterations',
        runs,
        weights,
        'bit by bit',
    )


def kill_rows(settings: Settings) -> Iterator[Row]:
    """Kill trainings at random moments, mostly while they save."""
    rng = np.random.default_rng(1)
    photos = make_images(settings.folder / 'kills')
    for keep in (1, 3):
        work_dir = settings.folder / 'kills' / str(keep)
        cfg = make_config(
            photos,
            work_dir,
            by_epoch=False,
            **{
                'train_cfg.max_iters': 10**6,
                'default_hooks.checkpoint.interval': 1,
                'default_hooks.checkpoint.max_keep_ckpts': keep,
            },
        )
        cfg.resume = True
        survived = torn = lost = 0
        saving: list[float] = []
        reached = 0
        for _ in range(settings.kills):
            times = multiprocessing.Array('d', 2)
            _kill_one(cfg, float(rng.uniform(0.05, 0.6)), reached, times)
            saving.append(times[0] / max(times[1], 1e-9))
            path, refused = newest_good(work_dir)
            torn += len(refused)
            step = int(path.stem.removeprefix('iter_')) if path else -1
            lost += step < reached
            survived += path is not None and not refused and step >= reached
            reached = max(reached, step)
        share = 100 * float(np.mean(saving))
        yield Row(
            f'a kill loses no run (keep {keep})',
            settings.kills,
            survived,
            f'{share:.0f} % of the time spent saving; {torn} torn files; '
            f'{reached:,} iterations reached',
        )


def _kill_one(cfg: Config, delay: float, reached: int, times: Any) -> None:
    """Train in a child; kill it some time after its first new checkpoint."""
    context = multiprocessing.get_context('fork')
    child = context.Process(target=_train_slowly, args=(cfg, times))
    child.start()
    work_dir = Path(cfg.work_dir)
    limit = time.monotonic() + 120
    while time.monotonic() < limit and child.is_alive():
        found = checkpoints_in(work_dir)
        if found and int(found[0].stem.removeprefix('iter_')) > reached:
            break
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()


def _train_slowly(cfg: Config, times: Any) -> None:
    """Train with a disk that is slow enough to be hit while saving."""
    from mmcae.checkpoint import download

    sync = os.fsync

    def slow_sync(handle: int) -> None:
        time.sleep(0.06)
        sync(handle)

    download.os.fsync = slow_sync  # type: ignore[attr-defined]
    save = CheckpointHook._save_checkpoint_with_step
    start = time.perf_counter()

    def timed_save(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = save(self, *args, **kwargs)
        now = time.perf_counter()
        times[0] += now - began
        times[1] = now - start
        return result

    CheckpointHook._save_checkpoint_with_step = timed_save  # type: ignore
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    train(cfg)


def damage_rows(settings: Settings) -> Iterator[Row]:
    """Damage the newest checkpoint, its record, and the pointer."""
    photos = make_images(settings.folder / 'damage')
    work_dir = settings.folder / 'damage' / 'run'
    train(make_config(photos, work_dir))
    newest, older = checkpoints_in(work_dir)[:2]
    content = newest.read_bytes()
    size = len(content)
    rng = np.random.default_rng(2)
    cases: list[bytes] = [content[: size * n // 20] for n in range(20)]
    for _ in range(28):
        position, bit = int(rng.integers(size)), int(rng.integers(8))
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        cases.append(bytes(changed))
    cases += [
        b'not a checkpoint',
        content[:4096] + bytes(4096) + content[8192:],
    ]
    found = 0
    for recorded in (True, False):
        if not recorded:
            digest_file(newest).unlink()
            # Without a record, a bit in the padding is not a damage.
            cases = cases[:20] + cases[48:]
        for case in cases:
            newest.write_bytes(case)
            said: list[str] = []
            found += choose_checkpoint(work_dir, said.append) == older and (
                len(said) == 1 and newest.name in said[0]
            )
    newest.write_bytes(content)
    total = 50 + len(cases)
    pointer = work_dir / 'last_checkpoint'
    texts = ('', 'nowhere.pth', older.name, '/etc/passwd', '\0' * 100)
    for text in texts:
        pointer.write_text(text)
        found += choose_checkpoint(work_dir, print) == newest
    yield Row(
        'a damaged checkpoint or pointer is noticed, and an older one taken',
        total + len(texts),
        found,
        f'truncated, one bit, zeros, other content; {len(cases)} of them '
        'without a recorded SHA-256; wrong pointers',
    )


def disk_rows(settings: Settings) -> Iterator[Row]:
    """Limit the size of files, so that saving fails like on a full disk."""
    photos = make_images(settings.folder / 'disk')
    work_dir = settings.folder / 'disk' / 'run'
    train(make_config(photos, work_dir))
    before = {path: path.read_bytes() for path in checkpoints_in(work_dir)}
    cfg = make_config(photos, work_dir, **{'train_cfg.max_epochs': 9})
    cfg.resume = True
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    ended = ''
    try:
        train(cfg)
    except CheckpointError as error:
        ended = str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    after = {path: path.read_bytes() for path in checkpoints_in(work_dir)}
    kept = (
        'failure 3 in a row' in ended
        and 'bytes are free' in ended
        and before == after
        and not list(work_dir.glob('.*part'))
    )
    yield Row(
        'a disk that refuses costs a warning; the third time ends the run',
        3,
        3 * kept,
        'older checkpoints untouched, no torn file, free bytes named',
    )


def signal_rows(settings: Settings) -> Iterator[Row]:
    """Send signals inside of an iteration, and resume."""
    photos = make_images(settings.folder / 'signals')
    kept = total = 0
    for by_epoch in (True, False):
        base = settings.folder / 'signals' / str(by_epoch)
        whole, _ = train(make_config(photos, base / 'whole', by_epoch))
        for name in ('SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGINT'):
            number = getattr(signal, name)
            cfg = make_config(photos, base / name, by_epoch)
            context = multiprocessing.get_context('fork')
            child = context.Process(
                target=_train_and_signal, args=(cfg.copy(), number)
            )
            child.start()
            child.join()
            cfg.resume = True
            after, _ = train(cfg)
            total += 1
            kept += (
                child.exitcode == 128 + number
                and after.losses == whole.losses[EPOCH + 4 :]
            )
    yield Row(
        'a signal loses no iteration, and the resumed run is exact',
        total,
        kept,
        'SIGTERM, SIGUSR1, SIGHUP, SIGINT; both loops; exit status 128 + n',
    )


def _train_and_signal(cfg: Config, number: int) -> None:
    class Send(Hook):
        def before_train_iter(
            self, runner: Any, *args: Any, **kwargs: Any
        ) -> None:
            if runner.iter == EPOCH + 3:
                os.kill(os.getpid(), number)

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    runner = build_runner(cfg)
    runner.register_hook(Send())
    runner.train()


def restart_rows(settings: Settings) -> Iterator[Row]:
    """Start again where a run has been."""
    photos = make_images(settings.folder / 'restart')
    work_dir = settings.folder / 'restart' / 'run'
    cfg = make_config(photos, work_dir)
    train(cfg.copy())
    before = [path.read_bytes() for path in checkpoints_in(work_dir)]
    kept = 0
    try:
        claim_work_dir(cfg.copy())
    except ConfigError:
        kept += 1
    (work_dir / 'last_checkpoint').unlink()
    resumed = cfg.copy()
    resume_newest(resumed)
    kept += str(resumed.get('load_from')).endswith('epoch_3.pth')
    moved = work_dir.with_name('moved')
    work_dir.rename(moved)
    resumed.work_dir = str(moved)
    resume_newest(resumed)
    kept += resumed.load_from == str(moved / 'epoch_3.pth')
    kept += before == [path.read_bytes() for path in checkpoints_in(moved)]
    yield Row(
        'no start from 0 over checkpoints; a moved work dir is resumed',
        4,
        kept,
        'without --resume, without a pointer, moved; files compared',
    )


def soak_rows(settings: Settings) -> Iterator[Row]:
    """Train long, and look at memory, files, threads and checkpoints."""
    photos = make_images(settings.folder / 'soak')
    work_dir = settings.folder / 'soak' / 'run'
    cfg = make_config(
        photos,
        work_dir,
        by_epoch=False,
        **{
            'train_cfg.max_iters': settings.soak,
            'default_hooks.checkpoint.interval': settings.soak // 8,
        },
    )
    queue: Any = multiprocessing.get_context('fork').Queue()
    child = multiprocessing.get_context('fork').Process(
        target=_soak, args=(cfg, queue)
    )
    child.start()
    seen = queue.get()
    child.join()
    late = seen[len(seen) // 8 :]
    growth = (late[-1][0] - late[0][0]) / 2**20
    files, threads = (late[-1][i] - late[0][i] for i in (1, 2))
    sizes = [path.stat().st_size for path in checkpoints_in(work_dir)]
    sizes = sizes[:-1]  # the first may be before the log's window is full
    kept = [
        growth < 10,
        files <= 0,
        threads <= 0,
        max(sizes) - min(sizes) < 1000,
    ]
    yield Row(
        f'{settings.soak:,} iterations leak nothing',
        len(kept),
        sum(kept),
        f'memory {growth:+.1f} MB, files {files:+}, threads {threads:+}, '
        f'checkpoints differ by {max(sizes) - min(sizes)} bytes',
    )


def _soak(cfg: Config, queue: Any) -> None:
    seen: list[tuple[int, int, int]] = []

    class Watch(Hook):
        def after_train_iter(
            self, runner: Any, *args: Any, **kwargs: Any
        ) -> None:
            if runner.iter % 50:
                return
            pages = int(Path('/proc/self/statm').read_text().split()[1])
            seen.append(
                (
                    pages * resource.getpagesize(),
                    len(os.listdir('/proc/self/fd')),
                    threading.active_count(),
                )
            )

    runner = build_runner(cfg)
    runner.register_hook(Watch())
    runner.train()
    queue.put(seen)


ROWS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    'resume': resume_rows,
    'kills': kill_rows,
    'damage': damage_rows,
    'disk': disk_rows,
    'signals': signal_rows,
    'restart': restart_rows,
    'soak': soak_rows,
}


def table(rows: list[Row]) -> str:
    """Format the rows for Markdown."""
    lines = ['| promise | injected | survived | notes |', '|---|---|---|---|']
    lines += [
        f'| {row.promise} | {row.injected:,} | {row.survived:,} '
        f'| {row.notes} |'
        for row in rows
    ]
    machine = (
        f'{platform.processor() or platform.machine()}, '
        f'{os.cpu_count()} cores, Python {platform.python_version()}, torch '
        f'{torch.__version__}, onedl-mmengine {mmengine.__version__}'
    )
    return '\n'.join([*lines, '', f'Machine: {machine}.'])


def write_docs(text: str) -> None:
    """Put the table into the documentation."""
    page = DOCS.read_text()
    start, end = MARKS
    head, rest = page.split(start)
    DOCS.write_text(f'{head}{start}\n{text}\n{end}{rest.split(end)[1]}')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--only', nargs='+', choices=ROWS, default=list(ROWS))
    parser.add_argument('--kills', type=int, default=100, help='per setting')
    parser.add_argument('--soak', type=int, default=2000, help='iterations')
    parser.add_argument('--out', type=Path, default='work_dirs/benchmarks')
    parser.add_argument(
        '--write', action='store_true', help='also docs/reliability.md'
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), args.kills, args.soak)
        for name in args.only:
            began = time.perf_counter()
            for row in ROWS[name](settings):
                rows.append(row)
                print(f'{row.survived:>6} of {row.injected:<6} {row.promise}')
            print(f'       {name}: {time.perf_counter() - began:.0f} s')
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    (args.out / 'reliability.md').write_text(text + '\n')
    (args.out / 'reliability.json').write_text(
        json.dumps([row._asdict() for row in rows], indent=2)
    )
    print(f'\n{text}')
    if args.write:
        write_docs(text)
    return int(any(row.survived < row.injected for row in rows))


if __name__ == '__main__':
    sys.exit(main())
