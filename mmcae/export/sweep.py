# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Take one classifier out of a sweep of learning rates."""

from torch import Tensor

HEADS = 'head.fcs.'


def accuracies(state: dict[str, Tensor]) -> dict[str, float]:
    """Return the top-1 accuracy of each classifier of a sweep, by name.

    Args:
        state: Tensors of a classifier with a `SweepLinearHead`.

    Raises:
        ValueError: If the head is another one.
    """
    names = [
        key.removeprefix(HEADS).removesuffix('.weight').replace('_', '.')
        for key in state
        if key.startswith(HEADS) and key.endswith('.weight')
    ]
    known = state.get('head.accuracy')
    if not names or known is None or known.shape != (len(names),):
        raise ValueError(
            f'found no sweep ({HEADS}*, head.accuracy) among {len(state)} '
            f'tensors: {", ".join(list(state)[:3])}, ...'
        )
    return dict(zip(names, known.tolist(), strict=True))


def take(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Keep one classifier, under the names of ``LinearClsHead``.

    Args:
        state: Tensors of a classifier with a `SweepLinearHead`.
        name: Name of the classifier to keep, e.g. ``'lr0.8'``.
    """
    kept = HEADS + name.replace('.', '_')
    return {
        key.replace(kept, 'head.fc'): value
        for key, value in state.items()
        if key.startswith(kept + '.')
        or not key.startswith((HEADS, 'head.accuracy'))
    }


def choose(found: dict[str, float], lr: float | None) -> str:
    """Return the name of the classifier to take.

    Args:
        found: The accuracies that :func:`accuracies` returns.
        lr: The learning rate of the classifier, or None for the best one.

    Raises:
        ValueError: If no classifier has that learning rate, or none was
            evaluated.
    """
    if lr is None:
        if not any(found.values()):
            raise ValueError(
                'this checkpoint was written before an evaluation, so the '
                'best learning rate is not known: choose one with --lr, from '
                f'{", ".join(found)}'
            )
        return max(found, key=lambda name: found[name])
    for name in found:
        if float(name.removeprefix('lr')) == float(f'{lr:g}'):
            return name
    raise ValueError(
        f'there is no classifier for --lr {lr:g}, only {", ".join(found)}'
    )
