# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The range in which the loss of a recipe lies: its band.

A band is made of several trainings of one config with different seeds (see
``band_making.py``). It is a JSON file of a few kB. Those of the recipes that
were trained here are in ``mmcae/zoo/bands``.

A band holds only for the config that it was made of, so it also has the
settings that set the curve. `find_band` compares them with those of a run.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmcae.zoo.band_settings import differences, digest_of, is_mistake

#: The bands of the package.
FOLDER = Path(__file__).with_name('bands')
#: The loss is smoothed over so many iterations.
WINDOW = 50
#: A band reaches at least this far beyond the losses, as a share of them.
LEAST_MARGIN = 0.07


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
        differing = differences(band.settings, settings)
        mistakes = all(map(is_mistake, differing, differing.values()))
        if mistakes:
            return Match(band, differing, True)
        if band.recipe == recipe:
            named = Match(band, differing, False)
    return named
