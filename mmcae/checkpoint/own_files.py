# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which files a resumed run may remove: its own, in its work dir.

mmengine's ``CheckpointHook`` removes the last best checkpoint, and those of
more than ``max_keep_ckpts``, by what the message hub remembers; and the
message hub comes from the resumed file. A path in a file is that file's
word: it may name any folder.
"""

import os
import re
from typing import Any

from mmengine.fileio import join_path
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log

from mmcae.checkpoint.plain_values import number_of
from mmcae.checkpoint.printable import printable

_PATHS = ('best_ckpt', 'last_ckpt')
_SCORES = 'best_score'
_STEPS = 'keep_ckpt_ids'


def keep_own_files(
    info: dict[str, Any], runner: Any, source: str, step: int
) -> None:
    """Drop what would make a run remove files that are not its own.

    An entry stays if the resumed file lies where this run's checkpoints go,
    and names a file there, no link and no folder, as this run's hook names
    its files. Entries of a work dir that was moved are corrected.

    Args:
        info: ``runtime_info`` of the checkpoint's message hub; changed in
            place. One entry of the log names what was dropped.
        runner: The run.
        source: The resumed file.
        step: The larger of its numbers of epochs and iterations.
    """
    hooks = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
    folders = {_folder(hook, runner): hook for hook in hooks}
    folder = next((f for f in folders if _lies_in(source, f)), None)
    hook = folders.get(folder)  # type: ignore[arg-type]
    dropped = {}
    for key in [k for k in info if k.startswith((*_PATHS, _STEPS, _SCORES))]:
        value: Any
        if key.startswith(_SCORES):
            number = number_of(info[key])
            value = info[key] if number == number is not None else None
        elif folder is None or hook is None:
            value = None
        elif key == _STEPS:
            value = _own_steps(info[key], hook, folder, step)
        else:
            value = _own_path(info[key], hook, folder, key)
        if value is None:
            dropped[key] = info.pop(key)
        else:
            info[key] = value
    if dropped:
        shown = ', '.join(
            f'{printable(k)}={printable(v)}' for k, v in dropped.items()
        )
        print_log(
            f'Not taken over from {printable(source, 1000)}: {shown}. A run '
            'only removes checkpoints that it wrote to its own '
            f'{runner.work_dir} and resumed from there.',
            logger='current',
            level=30,
        )


def _folder(hook: CheckpointHook, runner: Any) -> str:
    """Where a hook's checkpoints go; it finds out later itself."""
    work_dir = str(runner.work_dir)
    if hook.out_dir is None or str(hook.out_dir) == work_dir:
        return work_dir
    name = os.path.basename(work_dir.rstrip(os.sep))
    return join_path(str(hook.out_dir), name, backend_args=hook.backend_args)


def _is_remote(folder: str) -> bool:
    return '://' in folder


def _lies_in(file: str, folder: str) -> bool:
    if _is_remote(folder):
        return file.rpartition('/')[0] == folder.rstrip('/')
    parent = os.path.dirname(os.path.realpath(os.path.expanduser(file)))
    return parent == os.path.realpath(folder)


def _own_path(
    value: Any, hook: CheckpointHook, folder: str, key: str
) -> str | None:
    """The path in this run's folder, if it is one of its hook's files."""
    if not isinstance(value, str):
        return None
    name = re.split(r'[\\/]', value)[-1]
    numbers = re.findall(r'\d{1,15}', name)
    endings = {hook.filename_tmpl.format(int(n)) for n in numbers}
    if key.startswith('last_ckpt'):
        fits = name in endings
    else:
        fits = any(
            name.startswith('best_')
            and name.endswith('_' + ending.replace('/', '_'))
            for ending in endings
        )
    if not fits or not _is_own_file(folder, name):
        return None
    return join_path(folder, name, backend_args=hook.backend_args)


def _own_steps(
    value: Any, hook: CheckpointHook, folder: str, step: int
) -> list[int] | None:
    """The steps whose files are there; None if it is no list of steps."""
    if not isinstance(value, list) or not all(
        type(one) is int and 0 <= one <= step for one in value
    ):
        return None
    names = {one: hook.filename_tmpl.format(one) for one in value}
    wrong = [
        one
        for one, name in names.items()
        if os.path.lexists(os.path.join(folder, name))
        and not _is_own_file(folder, name)
    ]
    return None if wrong else value


def _is_own_file(folder: str, name: str) -> bool:
    if _is_remote(folder):  # has neither links nor ways out
        return True
    path = os.path.join(folder, name)
    return os.path.isfile(path) and not os.path.islink(path)
