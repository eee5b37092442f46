# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Time each component of a training step."""

import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

from .batches import Batch
from .clock import Clock
from .counting import count
from .implementation import Implementation, Part


def time_parts(
    implementations: Mapping[str, Implementation],
    batch: Batch,
    rounds: int,
    clock: Clock,
) -> dict[str, dict[str, dict[str, float]]]:
    """Time each component of several implementations in turn.

    Args:
        implementations: The implementations by name.
        batch: The batch that they compute on.
        rounds: Number of measured rounds. One more round comes first, to
            warm up, and does not count.
        clock: Measures the time.

    Returns:
        By implementation and component: the medians of ``forward`` and
        ``backward`` in seconds, and ``flops`` of the forward pass.
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    parts = {name: i.parts(batch) for name, i in implementations.items()}
    for name, found in parts.items():
        for part in found:
            with implementations[name].autocast():
                flops = count(part.forward).total if part.backward else 0
            row = dict(forward=0.0, backward=0.0, flops=float(flops))
            result.setdefault(name, {})[part.name] = row
    for index in range(max(map(len, parts.values()))):
        times: dict[str, list[tuple[float, float]]] = {n: [] for n in parts}
        for turn in range(rounds + 1):
            for name, found in parts.items():
                seconds = _time(implementations[name], found[index], clock)
                if turn:
                    times[name].append(seconds)
        for name, pairs in times.items():
            row = result[name][parts[name][index].name]
            row['forward'] = statistics.median(p[0] for p in pairs)
            row['backward'] = statistics.median(p[1] for p in pairs)
    return result


def _time(
    implementation: Implementation, part: Part, clock: Clock
) -> tuple[float, float]:
    """Time a component; returns seconds of forward and backward pass."""
    kept: list[Tensor] = []

    def forward() -> None:
        with implementation.autocast():
            out = part.forward()
        if part.backward and out is not None:
            kept.append(out)

    if part.name in ('clip', 'optimizer'):
        implementation.fill_gradients()
    first = clock(forward)[0]
    second = 0.0
    if kept:
        gradient = torch.full_like(kept[0], 1e-3)
        second = clock(lambda: kept[0].backward(gradient))[0]
    # As in training, each pass allocates its gradients.
    implementation.model.zero_grad(set_to_none=True)
    return first, second


def parts_table(
    parts: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> str:
    """A Markdown table: one row per component, milliseconds.

    A cell has the forward pass, and after a slash the backward pass.
    """
    names = list(parts)
    rows = ['| component | ' + ' | '.join(names) + ' |']
    rows.append('|---' * (len(names) + 1) + '|')
    for part in parts[names[0]]:
        cells = []
        for name in names:
            row = parts[name][part]
            cell = f'{1000 * row["forward"]:.1f}'
            if row['backward']:
                cell += f' / {1000 * row["backward"]:.1f}'
            cells.append(cell)
        rows.append(f'| {part} | ' + ' | '.join(cells) + ' |')
    sums = [
        1000 * sum(r['forward'] + r['backward'] for r in parts[n].values())
        for n in names
    ]
    rows.append('| sum | ' + ' | '.join(f'{s:.1f}' for s in sums) + ' |')
    return '\n'.join(rows) + '\n'
