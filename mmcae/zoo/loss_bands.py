# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The range in which the loss of a recipe lies: its band.

A band is made of several trainings of one config with different seeds (see
``tools/analysis_tools/loss_band.py``). It is a JSON file of a few kB. Those
of the recipes that were trained here are in ``mmcae/zoo/bands``.

A band holds only for the config that it was made of, so it also has the
settings that set the curve. `find_band` compares them with those of a run.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

#: The bands of the package.
FOLDER = Path(__file__).with_name('bands')
#: The loss is smoothed over so many iterations.
WINDOW = 50
#: The loss and its terms, which show what their sum hides, and how many times
#: wider the least margin is. The alignment varies most from seed to seed.
TERMS = {'loss': 1.0, 'main': 1.0, 'align': 4.0, 'loss_recon': 1.0}
#: A band reaches at least this far beyond the losses, as a share of them.
LEAST_MARGIN = 0.07
#: A learning rate that differs by more than this factor is compared with the
#: band: it is the most frequent reason for a wrong curve. With a smaller
#: difference, the band is that of another config.
LARGE_FACTOR = 5.0

_PARTS = ('model', 'data_preprocessor', 'optim_wrapper', 'param_scheduler')
# Where files lie, and what changes the speed but not the curve.
_NOT_COMPARED = re.compile(
    r'.*\b(_scope_|_delete_|checkpoint|data_root|list_file|ann_file|sha256|'
    r'init_cfg|backend|fused|clips_in_step|constructor|max_unreadable)\b.*'
)
# Wrong values of these are mistakes that the curve shows.
_MISTAKES = re.compile(
    r'.*(data_preprocessor\.(second_)?(mean|std)|num_masking_patches'
    r'|mask_ratio)\b.*'
)
_LR = 'optim_wrapper.optimizer.lr'


@dataclass(frozen=True)
class Band:
    """The band of a recipe.

    Attributes:
        recipe: Name of the config, without folder and ending.
        settings: What sets the curve, see `curve_settings`.
        digest: SHA-256 of ``settings``.
        steps: Iterations at which the numbers below are known.
        curves: The lower and the upper end of the band, ``'low'`` and
            ``'high'``, of the loss and of its terms.
        lr: The learning rate.
        perplexity: The number of codes in use, the mean over the seeds; empty
            if it was not logged.
        acc: The token accuracy, likewise.
        acc_position: That of a guess from the position, likewise.
        inputs: Mean and standard deviation of the normalized images.
        masked: Share of masked patches; None if there are no masks.
        margin: Least distance of the band from the losses, as a share.
        seeds: How many trainings the band is made of.
        torch: The version of PyTorch.
        made: The date.
    """

    recipe: str
    settings: dict[str, Any]
    digest: str
    steps: list[int]
    curves: dict[str, dict[str, list[float]]]
    lr: list[float]
    perplexity: list[float] = field(default_factory=list)
    acc: list[float] = field(default_factory=list)
    acc_position: list[float] = field(default_factory=list)
    inputs: tuple[float, float] = (0.0, 1.0)
    masked: float | None = None
    margin: float = LEAST_MARGIN
    seeds: int = 3
    torch: str = ''
    made: str = ''

    def at(self, name: str, step: int) -> float | None:
        """A number at an iteration, between two known ones by interpolation.

        Args:
            name: ``'lr'``, ``'perplexity'``, ``'acc'`` or ``'acc_position'``.
            step: The iteration.

        Returns:
            The number; None if it is not known.
        """
        values = getattr(self, name)
        return float(np.interp(step, self.steps, values)) if values else None

    def limits(self, step: int, name: str = 'loss') -> tuple[float, float]:
        """The lower and the upper end of the band at an iteration.

        Args:
            step: The iteration.
            name: The loss, or a term of it.
        """
        low, high = (
            float(np.interp(step, self.steps, self.curves[name][end]))
            for end in ('low', 'high')
        )
        return low, high

    def side(self, step: int, value: float, name: str = 'loss') -> int:
        """Where a smoothed value lies: -1 below, 0 inside, 1 above.

        Before the first known iteration, the answer is 0.

        Args:
            step: The iteration.
            value: The loss, or a term of it.
            name: Which.
        """
        if step < self.steps[0]:
            return 0
        low, high = self.limits(step, name)
        return int(value > high) - int(value < low)

    def save(self, path: Path) -> None:
        """Write the band."""
        content = asdict(self)
        lines = ',\n'.join(
            f'{json.dumps(key)}: {json.dumps(value)}'
            for key, value in content.items()
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{\n{lines}\n}}\n')


@dataclass(frozen=True)
class Match:
    """A band for a run.

    Attributes:
        band: The band.
        differences: Settings of the band and of the run that differ.
        comparable: Whether the run should follow the band. The differences
            are then mistakes that a curve shows, if there are any.
    """

    band: Band
    differences: dict[str, tuple[Any, Any]]
    comparable: bool


def read_band(path: Path) -> Band:
    """Read a band.

    Raises:
        ValueError: If the file is not a band.
    """
    try:
        content = json.loads(path.read_text())
        band = Band(**content)
        known = band.steps and all(
            len(curve[end]) == len(band.steps)
            for curve in [band.curves['loss'], *band.curves.values()]
            for end in ('low', 'high')
        )
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise ValueError(f'{path} is not a loss band: {error!r}') from None
    if not known:
        raise ValueError(f'{path} is not a loss band: its lists do not fit')
    return band


def read_bands(path: Path) -> list[Band]:
    """Read a band, or all bands of a folder.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a file is not a band.
    """
    if not path.exists():
        raise FileNotFoundError(f'there is no loss band {path}')
    files = sorted(path.glob('*.json')) if path.is_dir() else [path]
    return [read_band(file) for file in files]


@cache
def packaged_bands() -> tuple[Band, ...]:
    """The bands of the recipes that were trained here."""
    return tuple(read_bands(FOLDER)) if FOLDER.is_dir() else ()


def curve_settings(
    config: Mapping[str, Any], images: int | None, processes: int = 1
) -> dict[str, Any]:
    """The settings of a run that set its curve, by dotted key.

    Seeds, paths, and settings that only change the speed are left out.

    Args:
        config: The config of the run, plain values.
        images: How many training images there are; None if it is not known.
        processes: How many processes train together.
    """
    loader = config.get('train_dataloader') or {}
    dataset = loader.get('dataset') or {}
    parts = {
        **{name: config.get(name) for name in _PARTS},
        'train_dataloader.batch_size': loader.get('batch_size'),
        'train_dataloader.dataset': {
            name: dataset.get(name) for name in ('type', 'pipeline', 'dataset')
        },
        'train_cfg': {
            name: (config.get('train_cfg') or {}).get(name)
            for name in ('max_epochs', 'max_iters')
        },
    }
    flat: dict[str, Any] = {}
    for name, part in parts.items():
        flat |= _flat(part, name)
    flat['images'], flat['processes'] = images, processes
    return {
        key: value
        for key, value in flat.items()
        if value is not None and not _NOT_COMPARED.match(key)
    }


def digest_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find_band(
    settings: Mapping[str, Any],
    recipe: str = '',
    bands: Iterable[Band] | None = None,
) -> Match | None:
    """Find the band of a run.

    Args:
        settings: Those of the run, see `curve_settings`.
        recipe: Name of the config's file, without folder and ending.
        bands: The bands to look at; None: those of the package.

    Returns:
        The band of equal settings. Else, one from which the run only differs
        by mistakes that a curve shows. Else, the one of the same name, which
        is not comparable. Else None.
    """
    digest = digest_of(settings)
    named = None
    for band in packaged_bands() if bands is None else bands:
        if band.digest == digest:
            return Match(band, {}, True)
        differences = _differences(band.settings, settings)
        mistakes = all(map(_is_mistake, differences, differences.values()))
        if mistakes:
            return Match(band, differences, True)
        if band.recipe == recipe:
            named = Match(band, differences, False)
    return named


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


def _flat(node: Any, prefix: str) -> dict[str, Any]:
    if isinstance(node, Mapping):
        items: Any = node.items()
    elif isinstance(node, list | tuple) and any(
        isinstance(item, Mapping) for item in node
    ):
        items = enumerate(node)
    else:
        return {prefix: _plain(node)}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f'{prefix}.{key}')
    return flat


def _plain(value: Any) -> Any:
    """A value as JSON has it, so that it can be compared with a band's."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def _differences(
    band: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    # Without the number of images, such as in a report of an old run, the
    # other settings decide.
    keys = dict.fromkeys([*band, *run])
    return {
        key: (band.get(key), run.get(key))
        for key in keys
        if band.get(key) != run.get(key)
        and not (key == 'images' and key not in run)
    }


def _is_mistake(key: str, values: tuple[Any, Any]) -> bool:
    """Whether a difference is one that the curve is to show."""
    if _MISTAKES.match(key):
        return True
    if key != _LR:
        return False
    old, new = values
    if not all(isinstance(v, int | float) and v > 0 for v in values):
        return False
    return not 1 / LARGE_FACTOR <= new / old <= LARGE_FACTOR
