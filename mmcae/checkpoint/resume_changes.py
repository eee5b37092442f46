# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Resume: what may differ from the run that saved the checkpoint.

`RULES` has the answer for each key of the config: the first row that matches
counts. ``docs/reliability.md`` shows the same table for users.
"""

import re
from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_world_size
from mmengine.logging import print_log

from mmcae.checkpoint.config_literals import config_literals
from mmcae.checkpoint.plain_values import ResumeError
from mmcae.checkpoint.printable import printable

#: The answers. A refused change would have no effect or break the run; a
#: checkpoint's value that is kept makes the config's one ineffective.
REFUSED, KEPT, APPLIED, SILENT = 'refused', 'kept', 'applied', 'silent'

RULES: tuple[tuple[str, str], ...] = (
    # These choose only how the optimizer's step is computed.
    (r'optim_wrapper\.optimizer\.(fused|foreach|capturable)', SILENT),
    # The groups of the checkpoint have the rates and decays that they had.
    (r'optim_wrapper\.(optimizer|paramwise_cfg|constructor)(\..*)?', REFUSED),
    # `_check_loop` compares what counts, iterations or epochs.
    (r'train_cfg\.(type|by_epoch)', SILENT),
    # The checkpoint has the state and the settings of each scheduler.
    (r'param_scheduler(\..*)?', KEPT),
    (r'randomness\.seed', KEPT),
    # These change the speed, or belong to the tokenizer's own check.
    (r'train_dataloader\.(num_workers|pin_memory|persistent_workers)', SILENT),
    (r'train_dataloader\.(prefetch_factor|timeout)', SILENT),
    (r'train_dataloader\.sampler\.seed', SILENT),
    (r'model\.(.*\.)?(init_cfg|with_cp)(\..*)?', SILENT),
    (r'.*\._scope_', SILENT),
    (r'(model|optim_wrapper|train_dataloader|train_cfg)(\..*)?', APPLIED),
    # All other parts do not change what is trained.
    (r'.*', SILENT),
)

_MOST = 6  # changes in one line
_LONGEST = 60  # characters of a value

_COMPILED = tuple((re.compile(keys), answer) for keys, answer in RULES)


def check_changes(
    runner: Any, checkpoint: dict[str, Any], optimizer: bool = True
) -> None:
    """Compare a run with the one that saved a checkpoint.

    All changes that are not refused are logged in one line.

    Args:
        runner: The run.
        checkpoint: The content of the file.
        optimizer: Whether the optimizer is resumed.

    Raises:
        ResumeError: If a change is refused.
    """
    old = config_literals(checkpoint['meta'].get('cfg'))
    new = config_literals(getattr(runner.cfg, 'pretty_text', None))
    if old.get('train_cfg') and new.get('train_cfg'):
        _check_loop(old['train_cfg'], new['train_cfg'])
    told: dict[str, list[str]] = {KEPT: [], APPLIED: []}
    for key in sorted(old.keys() & new.keys()):
        for path, before, now in differences(old[key], new[key], key):
            answer = answer_for(path)
            if path.startswith('optim_wrapper') and not optimizer:
                continue
            if answer == REFUSED:
                raise ResumeError(
                    f'it was saved with {path}={_shown(before)}, and this run '
                    f'has {_shown(now)}, which would have no effect'
                )
            if answer in told:
                told[answer].append(
                    f'{path} {_shown(before)} -> {_shown(now)}'
                )
    told[APPLIED] += _other_changes(runner, checkpoint)
    parts = []
    if told[APPLIED]:
        parts.append(f'changed from here on: {_listed(told[APPLIED])}')
    if told[KEPT]:
        parts.append(
            f"not changed, the checkpoint's is used: {_listed(told[KEPT])}"
        )
    if parts:
        print_log(
            f'The resumed run differs from the saved one: {"; ".join(parts)}',
            logger='current',
            level=30,
        )


def answer_for(path: str) -> str:
    """What happens if the value of a dotted key differs."""
    return next(answer for keys, answer in _COMPILED if keys.fullmatch(path))


def _check_loop(old: Any, new: Any) -> None:
    before, now = _unit(old), _unit(new)
    if before != now:
        raise ResumeError(
            f'it was saved by a loop over {before}, and this run has one over '
            f'{now} (train_cfg), which counts and schedules other steps'
        )


def _unit(loop: Any) -> str:
    """What a ``train_cfg`` counts."""
    if not isinstance(loop, dict):
        return 'epochs'
    by_iter = loop.get('by_epoch') is False or 'Iter' in str(loop.get('type'))
    return 'iterations' if by_iter else 'epochs'


def differences(
    old: Any, new: Any, path: str
) -> Iterator[tuple[str, Any, Any]]:
    """Every key whose value differs, with both values.

    Args:
        old: A part of a config.
        new: The same part of another one.
        path: Its dotted path.
    """
    # Command lines make lists of what a config writes as tuples.
    old, new = (list(v) if isinstance(v, tuple) else v for v in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), f'{path}.{key}')
    elif (
        isinstance(old, list)
        and isinstance(new, list)
        and len(old) == len(new)
        and any(isinstance(item, dict) for item in old)
    ):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f'{path}.{number}')
    elif old != new:
        yield path, old, new


def _other_changes(runner: Any, checkpoint: dict) -> Iterator[str]:
    """Changes of what no config says: the images and the processes."""
    position = checkpoint.get('exact_resume')
    if not isinstance(position, dict):
        return
    states = position.get('random_states')
    if isinstance(states, list) and len(states) != get_world_size():
        yield f'processes {len(states)} -> {get_world_size()}'
    images = position.get('images')
    own = len(runner.train_dataloader.dataset)
    if isinstance(images, int) and images != own:
        yield f'training images {images} -> {own}'


def _listed(changes: list[str]) -> str:
    more = len(changes) - _MOST
    rest = f' and {more} more' if more > 0 else ''
    return ', '.join(changes[:_MOST]) + rest


def _shown(value: Any) -> str:
    return printable(value, _LONGEST)
