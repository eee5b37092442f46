# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Damage files of a work dir, and let the disk refuse to save."""

import resource
import signal
from collections.abc import Iterator

import numpy as np

from mmcae.checkpoint.durable import digest_file
from mmcae.checkpoint.errors import CheckpointError
from mmcae.checkpoint.work_dir import checkpoints_in, choose_checkpoint

from .runs import Row, Settings, make_config, make_images, train


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
