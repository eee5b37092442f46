# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A batch whose loss or gradient is not finite, and the folder it is kept in.

``WORK_DIR/non_finite/iter_N`` has all that `mmcae.engine.replay` needs:

- ``config.py``: the config of the run;
- ``weights.pth``: every parameter and buffer before the iteration;
- ``batch_rank_R.pth``: of process R, the batch, the random state before the
  forward pass, the moving averages and the losses;
- ``report.json``: the same losses and the names of the files, to read.
"""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcae.checkpoint.durable import sync_folder, write_durably
from mmcae.checkpoint.files import atomic_write
from mmcae.checkpoint.printable import printable
from mmcae.engine.forward_state import all_values
from mmcae.engine.plain_batch import to_plain
from mmcae.engine.random_state import RandomMoment

FOLDER = 'non_finite'
WEIGHTS, CONFIG, REPORT = 'weights.pth', 'config.py', 'report.json'
#: How many file names a message lists.
_LISTED = 8


@dataclass
class BadBatch:
    """A batch of one process.

    Attributes:
        iteration: Its number, from 1, as in the log.
        batch: What the data loader gave.
        terms: The losses and metrics, as the model returned them.
        random_state: That before the forward pass.
        numbers: Floats of the model (see `ForwardState.numbers`).
        moving: What forward passes change (see `ForwardState.values`), before
            this one.
        loss: The sum of the losses.
        norm: The norm of the gradients.
        exact_norm: Whether the gradients are those of this batch alone.
    """

    iteration: int
    batch: Any
    terms: dict[str, Any]
    random_state: RandomMoment
    numbers: dict[str, float]
    moving: dict[str, Tensor] = field(default_factory=dict)
    loss: float = math.nan
    norm: float = math.nan
    exact_norm: bool = True

    def summary(self) -> dict[str, Any]:
        """Describe it in a few plain values."""
        terms = {
            key: float(torch.as_tensor(value).detach())
            for key, value in self.terms.items()
            if isinstance(value, int | float)
            or (isinstance(value, Tensor) and value.numel() == 1)
        }
        return dict(
            iteration=self.iteration,
            loss=self.loss,
            grad_norm=self.norm,
            terms=terms,
            files=[*map(str, files_of(self.batch))],
        )


def files_of(batch: Any) -> Iterator[str]:
    """Names of the image files of a batch, from its data samples."""
    if isinstance(batch, dict):
        batch = batch.get('data_samples')
    if isinstance(batch, tuple | list):
        for one in batch:
            yield from files_of(one)
    elif hasattr(batch, 'metainfo') and hasattr(batch, 'img_path'):
        yield batch.img_path


def describe(summary: dict[str, Any], rank: int | None = None) -> str:
    """Say in one line what was not finite, and in which files.

    Args:
        summary: See `BadBatch.summary`.
        rank: The number of the process, if there are several.
    """
    if math.isfinite(summary['loss']):
        what = (
            f'the loss is {summary["loss"]:.4g}, but the norm of the gradient '
            f'is {summary["grad_norm"]}'
        )
    else:
        terms = {k: v for k, v in summary['terms'].items() if k != 'loss'}
        broken = [f'{k} {v}' for k, v in terms.items() if not math.isfinite(v)]
        inside = f' ({", ".join(broken)})' if broken else ''
        what = f'the loss is {summary["loss"]}{inside}'
    names = [printable(name, 1000) for name in summary['files']]
    listed = ', '.join(names[:_LISTED]) or 'its samples have no img_path'
    if len(names) > _LISTED:
        listed += f', and {len(names) - _LISTED} more'
    where = '' if rank is None else f'on rank {rank}, '
    return f'{where}{what}; files: {listed}'


def keep_batch(
    folder: Path, rank: int, bad: BadBatch, model: nn.Module
) -> None:
    """Write the batch of one process.

    Args:
        folder: ``WORK_DIR/non_finite/iter_N``; it is made if needed.
        rank: The number of the process.
        bad: The batch.
        model: The model, without a wrapper.
    """
    backends = torch.backends
    content = dict(
        iteration=bad.iteration,
        batch=to_plain(bad.batch),
        terms=to_plain(dict(bad.terms)),
        norm=bad.norm if bad.exact_norm else None,
        random_state=bad.random_state.tensors(),
        moving=bad.moving,
        numbers=bad.numbers,
        device=next(model.parameters()).device.type,
        threads=torch.get_num_threads(),
        matmul_precision=torch.get_float32_matmul_precision(),
        cudnn=[backends.cudnn.benchmark, backends.cudnn.deterministic],
    )
    _write(content, folder / f'batch_rank_{rank}.pth')


def keep_weights(
    folder: Path, model: nn.Module, config: str, summaries: dict[int, dict]
) -> None:
    """Write what is the same on all processes, the report last.

    Args:
        folder: As for `keep_batch`.
        model: The model with the weights before the iteration.
        config: The text of the config.
        summaries: By the number of the process.
    """
    _write(all_values(model), folder / WEIGHTS)
    write_durably(config.encode(), folder / CONFIG)
    report = {f'rank {rank}': one for rank, one in summaries.items()}
    write_durably(json.dumps(report, indent=2).encode(), folder / REPORT)


def remove_old(folder: Path, most: int) -> None:
    """Remove all but the newest kept batches of ``WORK_DIR/non_finite``."""
    kept = [
        path
        for path in folder.glob('iter_*')
        if path.name[len('iter_') :].isdecimal()
    ]
    kept.sort(key=lambda path: int(path.name[len('iter_') :]))
    for path in kept[: max(len(kept) - most, 0)]:
        shutil.rmtree(path, ignore_errors=True)


def _write(content: dict, path: Path) -> None:
    with atomic_write(path) as file:
        torch.save(content, file)
    sync_folder(path.parent)
