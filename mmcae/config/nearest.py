# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Guess which name was meant: one rule for keys, configs and models."""

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

#: How similar a name must be, from 0 to 1, to be suggested: for a key of a
#: dict, for one that stands in another dict, and for the long names of
#: configs and models, of which users leave parts out.
KEY, ELSEWHERE, LONG_NAME = 0.6, 0.8, 0.5


def nearest(
    name: str, known: Iterable[str], cutoff: float = KEY
) -> str | None:
    """The known name that is most like ``name``, to be suggested.

    Args:
        name: A name that is not known.
        known: The names that are.
        cutoff: The lowest similarity; one of those above.
    """
    close = get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def misspelt(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` is a slip of the keyboard for, if any.

    This decides whether a name is refused, so similarity is not enough:
    ``train_loader`` and ``weak_pipeline``, which are variables in many
    configs, are as similar to ``train_dataloader`` and ``tta_pipeline`` as a
    slip. One slip is allowed in a short name, two in one of more than eight
    letters; names of four letters or fewer are never guessed.
    """
    for meant in get_close_matches(name, sorted(known), cutoff=KEY):
        allowed = 2 if len(meant) > 8 else 1
        if len(meant) > 4 and _slips(name, meant) <= allowed:
            return meant
    return None


def _slips(name: str, meant: str) -> int:
    """Letters added, left out, replaced or moved (two swapped: one move)."""
    slips = 0
    added: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    changes = SequenceMatcher(None, name, meant).get_opcodes()
    for kind, start, end, meant_start, meant_end in changes:
        if kind != 'equal':
            slips += max(end - start, meant_end - meant_start)
        if kind == 'delete':
            added.update(name[start:end])
        elif kind == 'insert':
            left_out.update(meant[meant_start:meant_end])
    return slips - (added & left_out).total()
