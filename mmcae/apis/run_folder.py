# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read what a training has left in its work dir."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcae.apis.run_facts import read_facts
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.work_dir import LOCK, POINTER
from mmcae.false_alarms import LOGGED_ALARMS

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_STARTS = re.compile(r'\d{8}_\d{6}')
_DONE = re.compile(r'Done: ([\d,]+) iterations in (.+)\.')
_UNREADABLE = re.compile(r'Unreadable files met in training: (\d+ of \d+)')
_FACTS = ('Python', 'PyTorch', 'MMEngine', 'GPU 0', 'GPU number')
_LINE = re.compile(r'^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - \w+ - (\w+) - ')


@dataclass
class RunFolder:
    """What is known of a run.

    Attributes:
        path: The work dir.
        status: ``'running'``, ``'done'``, ``'stopped'`` (it neither runs nor
            reached its end) or ``'not started'``.
        config: The config of the newest start, plain values.
        starts: The names of the starts, such as ``20261128_140549``.
        records: The logged numbers of the training by step, in order. If a
            start continued or repeated an earlier one, its numbers count.
        validations: The same of validations. Their step is the epoch, or the
            iteration in a loop without epochs.
        facts: Versions and device, as mmengine logs them.
        made_of: What `mmcae.apis.run_facts` wrote at the newest start.
        warnings: Warnings and errors of the newest start, each once.
        checkpoint: The newest checkpoint, if there is one.
        pictures: Pictures that hooks have drawn.
        last_sign: When the run last wrote to its log.
    """

    path: Path
    status: str = 'not started'
    config: dict[str, Any] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    records: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    made_of: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    checkpoint: Path | None = None
    pictures: list[Path] = field(default_factory=list)
    last_sign: datetime | None = None

    @property
    def name(self) -> str:
        """The name of the work dir."""
        return self.path.resolve().name

    def latest(self, name: str) -> float | None:
        """The latest value of a logged number."""
        for record in reversed(self.records):
            if name in record:
                return record[name]
        return None

    def best(self, name: str) -> float | None:
        """The largest value of a logged number."""
        return max((r[name] for r in self.records if name in r), default=None)


def read_run(path: str | os.PathLike, status: str | None = None) -> RunFolder:
    """Read a work dir; a file that is not there or damaged is left out.

    Args:
        path: The work dir.
        status: The status, if it is known. A process must give it for the
            work dir of its own run: to look at the lock would release it.

    Raises:
        FileNotFoundError: If there is no such folder, or no run in it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    starts = sorted(
        p for p in folder.iterdir() if p.is_dir() and _STARTS.match(p.name)
    )
    if not starts:
        raise FileNotFoundError(
            f'{folder} has no run: a work dir holds a folder such as '
            '20261128_140549 for each start'
        )
    run = RunFolder(folder, starts=[start.name for start in starts])
    logged = [
        list(_records(start / 'vis_data' / 'scalars.json')) for start in starts
    ]
    run.records = merge_records([r for r in rs if 'lr' in r] for rs in logged)
    run.validations = merge_records(
        [r for r in rs if 'lr' not in r] for rs in logged
    )
    run.config = _config(folder, starts[-1])
    run.made_of = read_facts(starts[-1])
    done = False
    log = next(iter(sorted(starts[-1].glob('*.log'))), None)
    if log is not None:
        run.last_sign = datetime.fromtimestamp(log.stat().st_mtime)
        done = _read_log(run, log)
    if status is not None:
        run.status = status
    elif is_running(folder):
        run.status = 'running'
    else:
        run.status = 'done' if done else 'stopped'
    run.checkpoint = newest_checkpoint(folder)
    run.pictures = sorted(folder.glob('*.png'))
    return run


def find_runs(root: str | os.PathLike) -> list[RunFolder]:
    """Read all work dirs below a folder, the newest start last.

    Args:
        root: A folder such as ``work_dirs``.
    """
    folders = {
        p.parent
        for p in Path(root).rglob('*')
        if _STARTS.fullmatch(p.name) and p.is_dir()
    }
    runs = [read_run(folder) for folder in folders]
    return sorted(runs, key=lambda run: (run.starts[-1], run.name))


def merge_records(
    starts: Iterable[list[dict[str, float]]],
) -> list[dict[str, float]]:
    """Join the records of several starts of one run.

    Args:
        starts: The records of each start, in the order of time. A start that
            continues or repeats a former one replaces what this one logged
            from the same step on.
    """
    merged: list[dict[str, float]] = []
    for records in starts:
        if records:
            first = records[0]['step']
            merged = [r for r in merged if r['step'] < first] + records
    return merged


def is_running(folder: Path) -> bool:
    """Whether another process of this machine holds the work dir's lock.

    Not for the work dir of this process's own run: closing the file would
    release the lock.
    """
    lock = folder / LOCK
    if fcntl is None or not lock.is_file():
        return False
    with open(lock, 'r+') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.lockf(file, fcntl.LOCK_UN)
    return False


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that the work dir's pointer names, if it is there."""
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    path = folder / Path(pointer.read_text(errors='replace').strip()).name
    return path if path.exists() else None


def _records(path: Path) -> Iterator[dict[str, float]]:
    if not path.is_file():
        return
    for line in path.read_text(errors='replace').splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # cut when the run was killed
            continue
        if isinstance(record, dict) and isinstance(record.get('step'), int):
            yield {
                name: value
                for name, value in record.items()
                if isinstance(value, int | float)
            }


def _config(folder: Path, start: Path) -> dict[str, Any]:
    for path in (start / 'vis_data' / 'config.py', *folder.glob('*.py')):
        if path.is_file():
            try:
                return Config.fromfile(path).to_dict()
            except Exception:  # a report must not fail for a damaged file
                continue
    return {}


def _read_log(run: RunFolder, path: Path) -> bool:
    """Fill facts and warnings; returns whether the run reached its end."""
    text = path.read_text(errors='replace')
    for name in _FACTS:
        found = re.search(rf'^    {name}: (.+)$', text, re.MULTILINE)
        if found:
            run.facts[name] = printable(found[1].split(' (')[0])
    unreadable = _UNREADABLE.findall(text)
    if unreadable:
        run.facts['unreadable images'] = unreadable[-1]
    for line in text.splitlines():
        found = _LINE.match(line)
        if found and found[1] in ('WARNING', 'ERROR'):
            message = printable(line[found.end() :])
            known = message.startswith(LOGGED_ALARMS)
            if not known and message not in run.warnings:
                run.warnings.append(message)
    return bool(_DONE.search(text))
