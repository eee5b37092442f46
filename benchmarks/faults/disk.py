# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Damage files of a work dir, and let the disk refuse to save."""

import json
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook

from mmcae.checkpoint.durable import digest_file
from mmcae.checkpoint.errors import CheckpointError
from mmcae.checkpoint.work_dir import checkpoints_in, choose_checkpoint

from .runs import EPOCH, Row, Settings, make_config, make_images, train

#: Iterations in which the disk of the logs is full.
FULL = range(EPOCH + 2, EPOCH + 8)


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
    ended = ''
    with _file_limit() as limit:
        limit(20_000)
        try:
            train(cfg)
        except CheckpointError as error:
            ended = str(error)
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
    yield _log_row(settings, photos)


def _log_row(settings: Settings, photos: Path) -> Row:
    """Fill the disk of the logs for some iterations."""
    where = settings.folder / 'logs'
    where.mkdir()
    with _small_disk(where) as (fill, kind):

        class Fill(Hook):
            priority = 'VERY_HIGH'

            def before_train_iter(self, runner: Any, *_: Any, **__: Any):
                fill(runner.iter in FULL)

        cfg = make_config(
            photos,
            where / 'run',
            **{
                'default_hooks.logger': dict(type='LoggerHook', interval=1),
                # The checkpoints are on a disk that is not full.
                'default_hooks.checkpoint.out_dir': str(settings.folder),
                'visualizer': dict(
                    type='Visualizer',
                    vis_backends=[dict(type='LocalVisBackend')],
                ),
            },
        )
        cfg.log_level = 'INFO'
        record, _ = train(cfg, hooks=(Fill(),))
        (log,) = where.glob('run/*/*.log')
        (scalars,) = where.glob('run/*/vis_data/scalars.json')
        written = [json.loads(line)['step'] for line in scalars.open()]
        text = log.read_text()
    kept = (
        len(record.losses) == 3 * EPOCH
        and set(written) < {*range(1, 3 * EPOCH + 1)}
        and set(written) >= {*range(1, 3 * EPOCH + 1)} - {n + 1 for n in FULL}
        and 'The logs are written again' in text
    )
    return Row(
        'logs on a full disk cost their lines; the run and later lines go on',
        len(FULL),
        len(FULL) * kept,
        f'{kind}; scalars.json and the log, one warning',
    )


@contextmanager
def _small_disk(folder: Path) -> Iterator[tuple[Callable, str]]:
    """Mount a disk of 4 MB that can be filled, or limit the size of files.

    Yields:
        A function that fills the disk or makes room, and what is done.
    """
    options = ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)]
    mounted = subprocess.run(['mount', *options], capture_output=True)
    if mounted.returncode:  # only root may
        with _file_limit() as limit:
            yield lambda full: limit(1 if full else None), 'no file may grow'
        return
    filler = folder / 'filler'

    def fill(full: bool) -> None:
        if not full:
            filler.unlink(missing_ok=True)
            return
        with suppress(OSError), filler.open('ab', buffering=0) as file:
            while True:
                file.write(bytes(4096))

    try:
        yield fill, 'a disk of 4 MB'
    finally:
        subprocess.run(['umount', '-l', str(folder)], check=True)


@contextmanager
def _file_limit() -> Iterator[Callable]:
    """Yield a function that limits the size of files; None is no limit."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int | None) -> None:
        soft = former[0] if size is None else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, former[1]))

    try:
        yield limit
    finally:
        limit(None)
        signal.signal(signal.SIGXFSZ, handler)
