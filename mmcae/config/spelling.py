# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Recognise slips of the keyboard in names."""

from collections.abc import Iterable


def misspelt(key: str, known: Iterable[str]) -> str | None:
    """The known name that ``key`` is a slip of, if it is one.

    One slip is allowed in a short name, two in one of more than eight
    letters; names of four letters or fewer are never guessed.
    """
    for name in sorted(known):
        allowed = 2 if len(name) > 8 else 1
        if len(name) > 4 and edit_distance(key, name) <= allowed:
            return name
    return None


def edit_distance(first: str, second: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
