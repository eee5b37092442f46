# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make the band of a recipe of several trainings with different seeds.

``tools/analysis_tools/loss_band.py`` runs the trainings.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from mmcae.zoo.band_settings import digest_of
from mmcae.zoo.loss_bands import LEAST_MARGIN, WINDOW, Band

#: The loss and its terms, which show what their sum hides, and how many times
#: wider the least margin is. The alignment varies most from seed to seed.
TERMS = {'loss': 1.0, 'main': 1.0, 'align': 4.0, 'loss_recon': 1.0}


def make_band(
    recipe: str,
    settings: dict[str, Any],
    runs: Sequence[Sequence[Mapping[str, float]]],
    points: int = 40,
    margin: float = LEAST_MARGIN,
    **facts: Any,
) -> Band:
    """Make a band of the logs of several trainings.

    The band of the loss, and of each of its terms, reaches from the lowest to
    the highest value of the 25 iterations before and after each point. It is
    widened on both sides by the distance of the trainings, and at least by
    ``margin`` times the value (four times as much for the alignment).

    Args:
        recipe: Name of the config.
        settings: See `curve_settings`.
        runs: The logged records of each training; ``loss`` is a mean over
            `WINDOW` iterations.
        points: At how many iterations the band is described.
        margin: As a share of the loss.
        **facts: Further attributes of `Band`.

    Raises:
        ValueError: If there are less than two trainings, or one has less than
            two records.
    """
    logs = [
        [r for r in run if r['step'] >= WINDOW and 'loss' in r] for run in runs
    ]
    if len(logs) < 2 or min(map(len, logs)) < 2:
        raise ValueError(
            'a band needs at least two trainings of one config, each with two '
            f'lines of the log after iteration {WINDOW}'
        )
    first = max(log[0]['step'] for log in logs)
    last = min(log[-1]['step'] for log in logs)
    # Losses change fastest in the beginning.
    spaced = first + (last - first) * np.linspace(0, 1, points) ** 1.5
    steps = sorted({round(step) for step in spaced})
    curves = {
        name: _limits(logs, name, steps, factor * margin)
        for name, factor in TERMS.items()
        if all(name in log[0] for log in logs)
    }
    means = {
        name: _mean_curves(logs, name, steps).mean(0)
        for name in ('lr', 'perplexity', 'acc', 'acc_position')
    }
    return Band(
        recipe=recipe,
        settings=settings,
        digest=digest_of(settings),
        steps=steps,
        curves=curves,
        lr=_short(means['lr']),
        perplexity=_short(means['perplexity']),
        acc=_short(means['acc']),
        acc_position=_short(means['acc_position']),
        margin=margin,
        seeds=len(logs),
        made=f'{date.today()}',
        **facts,
    )


def _limits(
    logs: Sequence[Sequence[Mapping[str, float]]],
    name: str,
    steps: Sequence[int],
    margin: float,
) -> dict[str, list[float]]:
    half = WINDOW // 2
    there, *near = (
        _mean_curves(logs, name, [step + offset for step in steps])
        for offset in (0, -half, half)
    )
    around = np.concatenate([there, *near])
    low, high = around.min(0), around.max(0)
    room = np.maximum(there.max(0) - there.min(0), margin * np.abs(high))
    return dict(low=_short(low - room), high=_short(high + room))


def _mean_curves(
    logs: Sequence[Sequence[Mapping[str, float]]],
    name: str,
    steps: Sequence[int],
) -> np.ndarray:
    """The curve of each training ``(N, steps)``; NaN if it was not logged."""
    curves = []
    for log in logs:
        known = [r for r in log if name in r]
        curves.append(
            np.interp(
                steps, [r['step'] for r in known], [r[name] for r in known]
            )
            if known
            else np.full(len(steps), np.nan)
        )
    return np.array(curves)


def _short(values: np.ndarray) -> list[float]:
    """Four digits of each number; no list if one is not known."""
    if not np.isfinite(values).all():
        return []
    return [float(f'{value:.4g}') for value in values]
