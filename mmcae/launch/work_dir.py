# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""One work dir belongs to one run: nothing is overwritten without a word."""

import os
from pathlib import Path
from typing import IO

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcae.checkpoint.durable import digest_file
from mmcae.checkpoint.files import remove_unfinished
from mmcae.checkpoint.work_dir import (
    LOCK,
    POINTER,
    checkpoints_in,
    choose_checkpoint,
)
from mmcae.config.overrides import ConfigError
from mmcae.launch.distributed import rank

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The lock ends with the process, also with one that is killed. Data-loading
# workers do not inherit it, so they cannot hold it longer.
_locks: dict[Path, IO] = {}


def resume_newest(cfg: Config) -> None:
    """Continue from the newest good checkpoint of the work dir.

    If there is none, the run starts as without ``--resume`` and says so: the
    first start and a restart of a job can have the same command.

    Args:
        cfg: The config; ``resume`` and ``load_from`` change.

    Raises:
        CheckpointError: If all checkpoints are damaged.
    """
    path = choose_checkpoint(cfg.work_dir, _say)
    cfg.resume = path is not None
    if path is not None:
        cfg.load_from = str(path)
    else:
        _say(
            f'--resume: nothing to resume in {cfg.work_dir}; training from '
            'the start'
        )


class OverwriteHook(Hook):
    """Removes the checkpoints of a former run when the training begins.

    Not earlier: a mistake in the command must not cost the former run.

    Args:
        former: The checkpoints.
    """

    # before a hook of this run writes into the work dir
    priority = 'VERY_HIGH'

    def __init__(self, former: list[Path]) -> None:
        self.former = former

    def before_train(self, runner: Runner) -> None:
        """Remove them, their SHA-256 and the pointer."""
        for path in self.former:
            path.unlink(missing_ok=True)
            digest_file(path).unlink(missing_ok=True)
            (path.parent / POINTER).unlink(missing_ok=True)
        names = ', '.join(path.name for path in self.former)
        runner.logger.info(f'--overwrite: removed {names}')


def claim_work_dir(cfg: Config, overwrite: bool = False) -> list[Hook]:
    """Make sure that a training may write into its work dir.

    Unfinished files of a killed run are removed.

    Args:
        cfg: The config, with ``work_dir`` and ``resume``.
        overwrite: Whether the checkpoints of a former run may go.

    Returns:
        Hooks that the runner needs: an `OverwriteHook`, or none.

    Raises:
        ConfigError: If the work dir has checkpoints and the run does not
            continue one, or if another run uses the work dir.
    """
    if rank() not in (None, '0'):
        return []
    folder = Path(cfg.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _lock(folder)
    left = remove_unfinished(folder)
    if left:
        _say(f'removed {", ".join(left)} of a run that was killed')
    if cfg.get('resume'):
        return []
    former = checkpoints_in(folder)
    if not former:
        return []
    if not overwrite:
        raise ConfigError(
            f'{folder} has checkpoints of a former run ({former[0].name} is '
            'the newest). Continue it with --resume, start over with '
            '--overwrite, which removes them, or choose another --work-dir'
        )
    return [OverwriteHook(former)]


def _lock(folder: Path) -> None:
    key = folder.resolve()
    if fcntl is None or key in _locks:
        return
    file = open(folder / LOCK, 'a+')  # noqa: SIM115 (open until the end)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        owner = file.read().strip() or 'unknown'
        file.close()
        raise ConfigError(
            f'another run (process {owner}) is writing to {folder}; choose '
            'another --work-dir'
        ) from None
    except OSError:  # a file system without locks
        file.close()
        return
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _locks[key] = file


def _say(text: str) -> None:
    if rank() in (None, '0'):
        print(text, flush=True)
