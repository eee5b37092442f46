# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Says when the loss of a run leaves the band of its recipe."""

from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook, LoggerHook

from mmcae.checkpoint.unwrap import unwrap
from mmcae.registry import HOOKS
from mmcae.zoo.band_settings import curve_settings
from mmcae.zoo.loss_bands import (
    WINDOW,
    Match,
    find_band,
    packaged_bands,
    read_bands,
)

from ..band_causes import Seen, find_causes, look_at
from ..random_state import preserved_random_state

#: So many looks in a row must agree, so that a single mean says nothing.
_LOOKS = 2
_MOST_LISTED = 4


@HOOKS.register_module()
class LossBandHook(Hook):
    """Compares the loss with those of the same recipe with other seeds.

    The recipes that were trained here have a band: the range of the losses of
    three trainings, and of the terms of the loss (`mmcae.zoo.loss_bands`). One
    warning says that the loss or a term, as a mean over 50 iterations, has
    left the band, and names the causes that the run itself shows: learning
    rate, normalization, masks, tokenizer. One line says that it is back.

    A run whose settings move the curve (batch, length, data, model, or a
    somewhat different learning rate) is not compared; one line says so. The
    hook is idle if there is no band, and it looks only when the logger logs,
    at numbers that are on the host by then.

    Args:
        bands: A band, or a folder with bands, of your own recipes. See
            ``tools/analysis_tools/loss_band.py``.

    Raises:
        FileNotFoundError: If there are no such bands.
        ValueError: If a file is not a band.
    """

    priority = 'LOW'  # after the logger

    def __init__(self, bands: str | None = None) -> None:
        own = [] if bands is None else read_bands(Path(bands))
        self._bands = [*own, *packaged_bands()]
        self._match: Match | None = None
        self._interval = 0

    def before_train(self, runner: Any) -> None:
        """Find the band of the run."""
        self._match = None
        #: The curve that left the band, until all are back.
        self._left: str | None = None
        self._looks: list[dict[str, int]] = []
        self._was_inside = False
        if not is_main_process() or not self._bands:
            return
        recipe = Path(runner.cfg.filename or '').stem
        dataset = runner.train_dataloader.dataset
        settings = curve_settings(
            runner.cfg.to_dict(), len(dataset), get_world_size()
        )
        match = find_band(settings, recipe, self._bands)
        if match is None:
            return
        if not match.comparable:
            runner.logger.info(
                f'Loss band: that of {match.band.recipe} does not hold for '
                f'this run, which differs in {list_differences(match)}.'
            )
            return
        self._match = match
        loggers = [h for h in runner.hooks if isinstance(h, LoggerHook)]
        self._interval = min((h.interval for h in loggers), default=WINDOW)
        text = (
            f'Loss band: the loss is compared with {match.band.seeds} '
            f'trainings of {match.band.recipe}'
        )
        if match.differences:
            text += f', although the run differs in {list_differences(match)}'
        runner.logger.info(f'{text}.')

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the loss when the logger has logged it."""
        if self._match is not None and (
            self.every_n_inner_iters(batch_idx, self._interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self._look(runner, self._match, data_batch)

    def _look(self, runner: Any, match: Match, data_batch: Any) -> None:
        band, step = match.band, runner.iter + 1
        if step < band.steps[0]:
            return
        means = {name: _mean(runner, name) for name in band.curves}
        sides = {
            name: band.side(step, value, name)
            for name, value in means.items()
            if value is not None
        }
        self._looks = [*self._looks[1 - _LOOKS :], sides]
        if not any(sides.values()):
            self._was_inside = True
        if len(self._looks) < _LOOKS:
            return
        if self._left is not None:
            if not any(any(look.values()) for look in self._looks):
                name, self._left = self._left, None
                runner.logger.info(
                    f'Loss band: at iteration {step:,}, {_term(name)} is in '
                    f'the band again: {_numbers(match, step, name, means)}.'
                )
            return
        for name, side in sides.items():
            if side and all(look.get(name) == side for look in self._looks):
                self._left = name
                numbers = _numbers(match, step, name, means)
                where = 'above' if side > 0 else 'below'
                since = '' if self._was_inside else ' from the start'
                reason = self._reason(runner, match, side, data_batch)
                runner.logger.warning(
                    f'Loss band: at iteration {step:,}, {_term(name)} is '
                    f'{where} the band of {match.band.recipe}{since}: '
                    f'{numbers}. {reason}'
                )
                return

    def _reason(
        self, runner: Any, match: Match, side: int, data_batch: Any
    ) -> str:
        """What the run shows of a cause, in a sentence."""
        causes = find_causes(
            match, runner.iter + 1, self._seen(runner, data_batch)
        )
        if causes:
            return f'Likely cause: {"; and ".join(causes)}.'
        if match.differences:
            return f'The run differs in {list_differences(match)}.'
        images = 'others' if side > 0 else 'others, or few that are alike'
        return (
            'Learning rate, normalization, masks and codes in use are those '
            f'of the recipe. Are the images {images}? Look at them with '
            'tools/visualizations/browse_dataset.py.'
        )

    def _seen(self, runner: Any, data_batch: Any) -> Seen:
        """Collect what may explain the loss; once for each warning."""
        inputs = None
        if isinstance(data_batch, dict):
            with preserved_random_state():
                inputs = look_at(
                    unwrap(runner.model).data_preprocessor, data_batch
                )
        return Seen(
            lr=_mean(runner, 'lr', 1),
            perplexity=_mean(runner, 'perplexity'),
            acc=_mean(runner, 'acc'),
            acc_position=_mean(runner, 'acc_position'),
            inputs=inputs,
        )


def list_differences(match: Match) -> str:
    """The settings in which a run differs, such as ``lr: 0.1 (1.0)``.

    Args:
        match: The band and the differences; those of the run come first, and
            those of the recipe in parentheses.
    """
    parts = [
        f'{key}: {_text(run)} (in the recipe {_text(band)})'
        for key, (band, run) in match.differences.items()
    ]
    more = len(parts) - _MOST_LISTED
    shown = ', '.join(parts[:_MOST_LISTED])
    return f'{shown}, and {more} more settings' if more > 0 else shown


def _term(name: str) -> str:
    return 'the loss' if name == 'loss' else f'the term {name} of the loss'


def _numbers(
    match: Match, step: int, name: str, means: dict[str, float | None]
) -> str:
    low, high = match.band.limits(step, name)
    return f'{means[name]:.4g}, and the band is {low:.4g} to {high:.4g}'


def _text(value: Any) -> str:
    return 'none' if value is None else f'{value}'


def _mean(runner: Any, name: str, window: int = WINDOW) -> float | None:
    buffer = runner.message_hub.log_scalars.get(f'train/{name}')
    return None if buffer is None else float(buffer.mean(window))
