# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decide how long to pretrain, when the time of a step is known."""

from dataclasses import replace

from mmcae.cli.planning.adaptation import ADAPTATION
from mmcae.cli.planning.choices import size_of
from mmcae.cli.planning.plan import Plan, PlanError, Request, Stage
from mmcae.utils.durations import duration_text

#: Share of the epochs over which the learning rate rises.
_WARMUP = 0.05


def set_length(plan: Plan, request: Request) -> Plan:
    """Decide the length, with the measured time of a batch.

    Args:
        plan: With the ``seconds`` of each stage.
        request: With the time for everything.

    Raises:
        PlanError: If the time is not enough for an epoch.
    """
    spec = size_of(plan.size, plan.start)
    notes = list(plan.notes)
    usual, usual_tokenizer = spec.steps
    if plan.start is not None:
        usual = round(ADAPTATION.epochs_share * usual)
    budget = request.seconds
    if budget is not None:
        # The rest is for the start, for checkpoints, and for a machine that
        # becomes slower.
        budget *= 0.9
        budget -= plan.loading * (2 if plan.tokenizer else 1)
    share = 0.25 if plan.tokenizer else 0.0
    tokenizer = plan.tokenizer
    if tokenizer is not None:
        epochs = _usual_epochs(tokenizer, usual_tokenizer, spec.max_epochs)
        if budget is not None:
            # More than twice its usual length gains a tokenizer little.
            most = _affordable('tokenizer', tokenizer, share * budget)
            epochs = min(most, 2 * epochs, spec.max_epochs)
        tokenizer = _with_epochs(tokenizer, epochs)
    cae = plan.cae
    epochs = _usual_epochs(cae, usual, spec.max_epochs)
    if budget is not None:
        most = _affordable('CAE', cae, (1 - share) * budget)
        epochs = min(most, spec.max_epochs)
    share = _WARMUP if plan.start is None else ADAPTATION.warmup_share
    cae = _with_epochs(cae, epochs, share)
    steps = cae.total_batches // cae.accumulation
    if steps < 0.5 * usual:
        notes.append(
            f'{steps:,} steps are few ({usual:,} are usual for this size): '
            'the first hundreds only learn where the frequent codes are; '
            'give more --time'
        )
    plan = replace(plan, tokenizer=tokenizer, cae=cae)
    if request.seconds is not None and plan.duration < 0.5 * request.seconds:
        notes.append(
            f'the plan stops at {cae.epochs:,} epochs and leaves time over: a '
            'larger --size can use it'
        )
    if request.seconds is None and plan.duration > 86_400:
        notes.append(
            f'this takes {duration_text(plan.duration)}: give a --time, or a '
            'smaller --size'
        )
    return replace(plan, notes=tuple(notes))


def _usual_epochs(stage: Stage, steps: int, most: int) -> int:
    """Epochs that make a number of steps, from 10 to the most."""
    epochs = -(-steps * stage.accumulation // stage.batches)
    return min(max(epochs, 10), most)


def _affordable(name: str, stage: Stage, seconds: float) -> int:
    """Epochs that a time is enough for; PlanError if it is one or none.

    The warm-up and the rest of the schedule need an epoch each.
    """
    epoch = stage.batches * (stage.seconds or 1e-6)
    if seconds < 2 * epoch:
        raise PlanError(
            f'two epochs of the {name} take {duration_text(2 * epoch)}, and '
            f'of --time it gets {duration_text(max(0.0, seconds))}: give more '
            'time, a smaller --size, or fewer images'
        )
    return int(seconds / epoch)


def _with_epochs(stage: Stage, epochs: int, share: float = _WARMUP) -> Stage:
    warmup = max(1, round(share * epochs))
    return replace(stage, epochs=epochs, warmup_epochs=warmup)
