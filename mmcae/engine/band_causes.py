# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Why a loss may lie outside of its band: what a run itself shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmcae.zoo.loss_bands import Match

# How far from the band's numbers is no accident.
_LR_FACTOR = 1.5
_MEAN_OFF, _STD_FACTOR = 0.5, 2.0
_MASK_OFF = 0.05
_CODES_FACTOR = 1.6
_GAIN_SHARE, _LEAST_GAIN = 0.3, 0.01
_GUESS_SHARE = 0.7


@dataclass(frozen=True)
class Inputs:
    """What a batch looks like to the model.

    Attributes:
        mean: Of the normalized pixels of the first view.
        std: Their standard deviation.
        masked: Share of masked patches; None if there are no masks.
    """

    mean: float
    std: float
    masked: float | None


@dataclass(frozen=True)
class Seen:
    """Numbers of a run at one iteration; None where one is not known.

    Attributes:
        lr: The learning rate.
        perplexity: Codes in use.
        acc: Token accuracy.
        acc_position: That of a guess from the position of the patch.
        inputs: A batch.
    """

    lr: float | None = None
    perplexity: float | None = None
    acc: float | None = None
    acc_position: float | None = None
    inputs: Inputs | None = None


@torch.no_grad()
def look_at(preprocessor: Any, batch: dict) -> Inputs:
    """Normalize a batch as the model does, and describe it.

    Args:
        preprocessor: The model's data preprocessor.
        batch: A batch as the data loader gives it.
    """
    inputs = preprocessor(batch, False)['inputs']
    while isinstance(inputs, list | tuple):
        inputs = inputs[0]
    pixels = inputs.float()
    masks = [
        sample.mask
        for sample in batch.get('data_samples') or ()
        if isinstance(getattr(sample, 'mask', None), Tensor)
    ]
    masked = float(torch.stack(masks).float().mean()) if masks else None
    return Inputs(float(pixels.mean()), float(pixels.std()), masked)


def find_causes(match: Match, step: int, seen: Seen) -> list[str]:
    """Name what a run shows to be other than in the trainings of the band.

    Args:
        match: The band of the run.
        step: The iteration.
        seen: Numbers of the run.

    Returns:
        A part of a sentence for each cause, the most certain first.
    """
    causes = [
        *_rate(match, step, seen),
        *_pixels(match, seen),
        *_masks(match, seen),
        *_codes(match, step, seen),
    ]
    # Each of these also makes the tokens hard to predict.
    return causes or [*_tokens(match, step, seen)]


def _rate(match: Match, step: int, seen: Seen) -> Iterator[str]:
    usual = match.band.at('lr', step)
    if seen.lr is None or not usual:
        return
    factor = seen.lr / usual
    if not 1 / _LR_FACTOR < factor < _LR_FACTOR:
        yield (
            f'the learning rate is {seen.lr:.3g}, {factor:.3g} times that of '
            f'the recipe ({usual:.3g})'
        )


def _pixels(match: Match, seen: Seen) -> Iterator[str]:
    if seen.inputs is None:
        return
    mean, std = match.band.inputs
    off = abs(seen.inputs.mean - mean) > _MEAN_OFF * max(std, 1e-6)
    factor = seen.inputs.std / max(std, 1e-6)
    if off or not 1 / _STD_FACTOR < factor < _STD_FACTOR:
        text = (
            'the normalization: the images have mean '
            f'{seen.inputs.mean:.3g} and standard deviation '
            f'{seen.inputs.std:.3g} when the model gets them, those of the '
            f'recipe {mean:.3g} and {std:.3g}'
        )
        keys = [
            key
            for key in match.differences
            if 'data_preprocessor' in key and key.endswith(('mean', 'std'))
        ]
        yield f'{text} ({", ".join(keys)})' if keys else text


def _masks(match: Match, seen: Seen) -> Iterator[str]:
    usual = match.band.masked
    if seen.inputs is None or usual is None or seen.inputs.masked is None:
        return
    if abs(seen.inputs.masked - usual) > _MASK_OFF:
        yield (
            f'the mask: {seen.inputs.masked:.0%} of the patches are masked, '
            f'in the recipe {usual:.0%}'
        )


def _codes(match: Match, step: int, seen: Seen) -> Iterator[str]:
    usual = match.band.at('perplexity', step)
    if seen.perplexity is None or not usual:
        return
    factor = seen.perplexity / usual
    if factor < 1 / _CODES_FACTOR:
        yield (
            f'the tokenizer uses {seen.perplexity:.3g} codes, in the recipe '
            f'{usual:.3g}: it has collapsed, or its images are normalized '
            'wrongly'
        )
    elif factor > _CODES_FACTOR:
        yield (
            f'the tokenizer uses {seen.perplexity:.3g} codes, in the recipe '
            f'{usual:.3g}: it is another one, or the images differ'
        )


def _tokens(match: Match, step: int, seen: Seen) -> Iterator[str]:
    """Tokens that do not belong to the images cannot be predicted."""
    acc = match.band.at('acc', step)
    guess = match.band.at('acc_position', step)
    known = None not in (seen.acc, seen.acc_position, acc, guess)
    if not known:
        return
    assert seen.acc is not None and seen.acc_position is not None  # noqa: PT018
    assert acc is not None and guess is not None  # noqa: PT018
    gain, usual = seen.acc - seen.acc_position, acc - guess
    no_gain = usual > _LEAST_GAIN and gain < _GAIN_SHARE * usual
    if no_gain or seen.acc_position < _GUESS_SHARE * guess:
        yield (
            f'the tokens: their accuracy is {seen.acc:.1%}, that of a guess '
            f'from the position {seen.acc_position:.1%} (in the recipe '
            f'{acc:.1%} and {guess:.1%}), so they do not belong to the '
            'images; the tokenizer must be that of these images, and see the '
            'same crop as the encoder'
        )
