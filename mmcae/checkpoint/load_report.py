# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What became of each tensor of a file: in one entry, in one format."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from mmengine.logging import print_log
from torch import Tensor

from mmcae.checkpoint.fold_names import fold_names
from mmcae.checkpoint.printable import printable

Shape = tuple[int, ...]
# More than this many entries of one kind are counted only.
_MOST = 8
# Of characters: a title may have a path in it.
_TITLE = 2000


@dataclass
class LoadReport:
    """Names of tensors by what became of them.

    Attributes:
        title: What was done, such as ``'Loaded into CAE'``.
        given: All names of the file.
        expected: All names of the model.
        matched: Same name and shape.
        missing: In the model only: these keep their initial values.
        unexpected: In the file only, and unknown: not used.
        misfit: Same name, but another shape (file, model): not used.
        resized: Interpolated to the model's shape (from, to).
        renamed: The file's name to the model's.
        derived: Made for the model from what the file has.
        dropped: Left out by design.
    """

    title: str
    given: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misfit: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, unexpected, or of another shape."""
        return not (self.missing or self.unexpected or self.misfit)

    def __str__(self) -> str:
        title = printable(self.title, _TITLE)
        if len(self.matched) == len(self.given) == len(self.expected):
            return f'{title}: all {len(self.matched)} tensors matched'
        counts = [
            f'{len(self.matched)} matched',
            f'{len(self.missing)} missing',
            f'{len(self.unexpected)} unexpected',
            f'{len(self.resized)} resized',
            f'{len(self.dropped)} dropped',
        ]
        for what, names in (
            ('of another shape', self.misfit),
            ('renamed', self.renamed),
            ('derived', self.derived),
        ):
            if names:
                counts.append(f'{len(names)} {what}')
        if self.complete and not self.matched:
            # Where all is renamed, "0 matched" would read like a failure.
            counts = [text for text in counts if not text.startswith('0 ')]
            counts.append('nothing missing')
        details = {
            'missing': fold_names(self.missing, self.expected),
            'unexpected': fold_names(self.unexpected, self.given),
            'of another shape': _folded_shapes(self.misfit, 'instead of'),
            'resized': _folded_shapes(self.resized, '->'),
            'renamed': self._folded_pairs(),
            'derived': fold_names(self.derived, self.expected),
            'dropped': fold_names(self.dropped, self.given),
        }
        lines = [f'{title}: {", ".join(counts)}']
        for what, entries in details.items():
            if entries:
                lines.append(f'  {what}: {_some(entries)}')
        return '\n'.join(lines)

    def _folded_pairs(self) -> list[str]:
        if not self.renamed:
            return []
        olds, news = map(dict.fromkeys, zip(*self.renamed, strict=True))
        old, new = (
            fold_names(olds, self.given),
            fold_names(news, self.expected),
        )
        return [f'{_some(old)} -> {_some(new)}']


def _some(entries: list[str]) -> str:
    more = len(entries) - _MOST
    shown = ', '.join(entries[:_MOST])
    return f'{shown}, ... and {more} more' if more > 0 else shown


def _folded_shapes(
    shapes: dict[str, tuple[Shape, Shape]], sign: str
) -> list[str]:
    groups: dict[tuple[Shape, Shape], list[str]] = {}
    for name, pair in shapes.items():
        groups.setdefault(pair, []).append(name)
    return [
        f'{entry} {one} {sign} {other}'
        for (one, other), names in groups.items()
        for entry in fold_names(names)
    ]


# Notes of what modules did to a state dict, while a load is reported on.
_notes: list[LoadReport] = []


@contextmanager
def collect_notes(report: LoadReport) -> Iterator[None]:
    """Write what the functions below note to a report."""
    _notes.append(report)
    try:
        yield
    finally:
        _notes.pop()


def note_resized(name: str, old: Iterable[int], new: Iterable[int]) -> None:
    """Note that a tensor of the state dict was given another shape."""
    old, new = tuple(old), tuple(new)
    if _notes:
        _notes[-1].resized[name] = (old, new)
    else:  # a load by torch itself
        print_log(
            f'Resized {printable(name)} {old} -> {new}', logger='current'
        )


def note_renamed(old: str, new: str) -> None:
    """Note that a tensor of the file is used under another name."""
    if _notes:
        _notes[-1].renamed.append((old, new))


def note_derived(name: str) -> None:
    """Note that a tensor of the file is made anew for the model."""
    if _notes:
        _notes[-1].derived.append(name)


def conversion_report(
    title: str, source: Mapping[str, Tensor], result: Mapping[str, Tensor]
) -> LoadReport:
    """Say what a converter made of a state dict; it must not copy tensors.

    Args:
        title: What was done.
        source: State dict read.
        result: State dict to write; its tensors share the memory of those
            that they come from.
    """
    homes = {value.data_ptr(): name for name, value in source.items()}
    report = LoadReport(title, list(source), list(result))
    used = set()
    for name, value in result.items():
        place = value.data_ptr()
        if place not in homes:
            report.derived.append(name)
        elif name in source and source[name].data_ptr() == place:
            report.matched.append(name)
        else:
            report.renamed.append((homes[place], name))
        used.add(place)
    report.dropped = [k for k, v in source.items() if v.data_ptr() not in used]
    return report
