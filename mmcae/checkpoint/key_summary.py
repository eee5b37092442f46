# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Many tensor names in a few words, for reports and messages."""

from collections import Counter
from collections.abc import Iterable, Iterator

from mmcae.checkpoint.printable import printable

# Characters of a name, and of an entry of the summary. Longer ones are cut.
_MAX_LENGTH = 500


def summarize_keys(
    names: Iterable[str], among: Iterable[str] = ()
) -> list[str]:
    """Join names that differ in a block's number or in their last part.

    ``layers.0.gamma_1`` to ``layers.11.gamma_1`` become
    ``layers.{0..11}.gamma_1 (12)``.

    Args:
        names: Names of tensors.
        among: All names of the model or file. A part of it that is complete
            in ``names`` becomes one entry, such as ``neck.* (174)``.

    Returns:
        Entries in the order of their first names. An entry that stands for
        several names ends with their number.
    """
    names = [printable(name, _MAX_LENGTH) for name in names]
    among = [printable(name, _MAX_LENGTH) for name in among]
    counts = Counter(_whole_parts(names, among))
    by_number: dict[tuple[str | None, ...], dict[str, int]] = {}
    for name, count in counts.items():
        parts = name.split('.')
        index = next((i for i, p in enumerate(parts) if _is_number(p)), -1)
        number = parts[index] if index >= 0 else ''
        key = tuple(None if i == index else p for i, p in enumerate(parts))
        by_number.setdefault(key, {})[number] = count
    by_ending: dict[tuple[str, str], dict[str, int]] = {}
    for key, numbers in by_number.items():
        shown = '.'.join(
            _ranges(numbers) if part is None else part for part in key
        )
        stem, dot, ending = shown.rpartition('.')
        which = ','.join(numbers)
        by_ending.setdefault((stem + dot, which), {})[ending] = sum(
            numbers.values()
        )
    entries = []
    for (stem, _), endings in by_ending.items():
        ending = ','.join(endings)
        shown = stem + (f'{{{ending}}}' if len(endings) > 1 else ending)
        total = sum(endings.values())
        shown = printable(shown, _MAX_LENGTH)
        entries.append(shown + (f' ({total})' if total > 1 else ''))
    return entries


def _whole_parts(names: list[str], among: Iterable[str]) -> Iterator[str]:
    """Replace names by the largest part of the model that is complete."""
    existing = Counter(p for name in set(among) for p in _parents(name))
    given = Counter(p for name in names for p in _parents(name))
    for name in names:
        for parent in _parents(name):
            if 1 < existing[parent] == given[parent]:
                yield parent + '.*'
                break
        else:
            yield name


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 9


def _parents(name: str) -> list[str]:
    parts = name.split('.')
    return ['.'.join(parts[:i]) for i in range(1, len(parts))]


def _ranges(numbers: Iterable[str]) -> str:
    """Write numbers as ``{0..3,7}``, and a single number as it is."""
    runs: list[list[int]] = []
    for number in sorted(map(int, numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = ','.join(
        str(run[0]) if len(run) == 1 else f'{run[0]}..{run[-1]}'
        for run in runs
    )
    return shown if shown.isdecimal() else f'{{{shown}}}'
