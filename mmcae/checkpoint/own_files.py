# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Resume: a run may only remove its own files, in its own work dir.

mmengine's ``CheckpointHook`` removes the previous best checkpoint, and old
checkpoints beyond ``max_keep_ckpts``. It finds their paths in the message hub,
and a resumed run gets the message hub from the file. So a hostile file could
name any folder, and the hook would remove it.
"""

import math
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
    """Drop entries that would make a run remove files of others.

    An entry stays if the resumed file is in the folder of this run's
    checkpoints, and if the entry names a file in this folder: not a link, not
    a folder, and with a name as this run's hook gives it. If the work dir was
    moved, the paths are corrected.

    Args:
        info: ``runtime_info`` of the checkpoint's message hub; changed in
            place. One log entry lists what was dropped.
        runner: The run.
        source: The resumed file.
        step: The larger one of its numbers of epochs and iterations.
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
            is_score = number is not None and not math.isnan(number)
            value = info[key] if is_score else None
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
            f'{runner.work_dir} and was resumed from.',
            logger='current',
            level=30,
        )


def _folder(hook: CheckpointHook, runner: Any) -> str:
    """Return the folder of a hook's checkpoints.

    The hook computes it as well, but only when training starts.
    """
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
    """Return the path in this run's folder; None if it is not the hook's."""
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
    """Return the steps; None if they are not steps of the hook's files."""
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
    if _is_remote(folder):  # storage services have no links
        return True
    path = os.path.join(folder, name)
    return os.path.isfile(path) and not os.path.islink(path)
