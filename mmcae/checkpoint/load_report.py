# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The report of a load: what happened to each tensor, as one log entry."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from mmengine.logging import print_log
from torch import Tensor

from mmcae.checkpoint.key_summary import summarize_keys
from mmcae.checkpoint.printable import printable

Shape = tuple[int, ...]
# Further entries of one kind are counted, but not shown.
_MAX_ENTRIES = 8
# Characters of a title, which may contain a path.
_MAX_TITLE = 2000


@dataclass
class LoadReport:
    """Names of tensors, sorted by what happened to the tensors.

    Attributes:
        title: What was done, such as ``'Loaded into CAE'``.
        given: All names of the file.
        expected: All names of the model.
        matched: Used: same name and shape.
        missing: Only in the model, where they keep their initial values.
        unexpected: Only in the file, and unknown. Not used.
        misfit: Same name, but another shape (file, model). Not used.
        resized: Interpolated to the shape of the model (from, to).
        renamed: Used under another name (file, model).
        derived: Computed for the model from other tensors of the file.
        dropped: Not used, on purpose.
        remarks: What else was done, such as a change of channels.
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
    remarks: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True if nothing is missing, unexpected, or of another shape."""
        return not (self.missing or self.unexpected or self.misfit)

    def __str__(self) -> str:
        title = printable(self.title, _MAX_TITLE)
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
            # "0 matched" would read like a failure, but all were renamed.
            counts = [text for text in counts if not text.startswith('0 ')]
            counts.append('nothing missing')
        details = {
            'missing': summarize_keys(self.missing, self.expected),
            'unexpected': summarize_keys(self.unexpected, self.given),
            'of another shape': summarize_shapes(self.misfit, 'instead of'),
            'resized': summarize_shapes(self.resized, '->'),
            'renamed': self._summarized_pairs(),
            'derived': summarize_keys(self.derived, self.expected),
            'dropped': summarize_keys(self.dropped, self.given),
        }
        lines = [f'{title}: {", ".join(counts)}']
        for what, entries in details.items():
            if entries:
                lines.append(f'  {what}: {_some(entries)}')
        lines += [f'  {printable(remark)}' for remark in self.remarks]
        return '\n'.join(lines)

    def _summarized_pairs(self) -> list[str]:
        if not self.renamed:
            return []
        olds, news = map(dict.fromkeys, zip(*self.renamed, strict=True))
        old = summarize_keys(olds, self.given)
        new = summarize_keys(news, self.expected)
        return [f'{_some(old)} -> {_some(new)}']


def _some(entries: list[str]) -> str:
    more = len(entries) - _MAX_ENTRIES
    shown = ', '.join(entries[:_MAX_ENTRIES])
    return f'{shown}, ... and {more} more' if more > 0 else shown


def summarize_shapes(
    shapes: dict[str, tuple[Shape, Shape]], sign: str
) -> list[str]:
    """Join names that have the same two shapes, ``NAME (1, 2) -> (1, 3)``."""
    groups: dict[tuple[Shape, Shape], list[str]] = {}
    for name, pair in shapes.items():
        groups.setdefault(pair, []).append(name)
    return [
        f'{entry} {one} {sign} {other}'
        for (one, other), names in groups.items()
        for entry in summarize_keys(names)
    ]


# The reports that are being collected; the last one gets the notes.
_notes: list[LoadReport] = []


@contextmanager
def collect_notes(report: LoadReport) -> Iterator[None]:
    """Add what the functions below note to a report."""
    _notes.append(report)
    try:
        yield
    finally:
        _notes.pop()


def note_resized(name: str, old: Iterable[int], new: Iterable[int]) -> None:
    """Note that a tensor of the state dict was resized."""
    old, new = tuple(old), tuple(new)
    if _notes:
        _notes[-1].resized[name] = (old, new)
    else:  # torch's own load_state_dict: nobody collects notes
        print_log(
            f'Resized {printable(name)} {old} -> {new}', logger='current'
        )


def note_remark(text: str) -> None:
    """Note what else was done to a tensor, in a few words."""
    if _notes:
        _notes[-1].remarks.append(text)
    else:
        print_log(printable(text), logger='current')


def note_renamed(old: str, new: str) -> None:
    """Note that a tensor of the file is used under another name."""
    if _notes:
        _notes[-1].renamed.append((old, new))


def note_derived(name: str) -> None:
    """Note that a tensor of the model is computed from the file."""
    if _notes:
        _notes[-1].derived.append(name)


def conversion_report(
    title: str, source: Mapping[str, Tensor], result: Mapping[str, Tensor]
) -> LoadReport:
    """Report what a converter made of a state dict.

    The tensors are compared by their memory, so the converter must not copy
    them.

    Args:
        title: What was done.
        source: The state dict that was read.
        result: The state dict to write. Its tensors share the memory of the
            tensors that they come from.

    Returns:
        The report.
    """
    names = {value.data_ptr(): name for name, value in source.items()}
    report = LoadReport(title, list(source), list(result))
    used = set()
    for name, value in result.items():
        address = value.data_ptr()
        if address not in names:
            report.derived.append(name)
        elif name in source and source[name].data_ptr() == address:
            report.matched.append(name)
        else:
            report.renamed.append((names[address], name))
        used.add(address)
    report.dropped = [k for k, v in source.items() if v.data_ptr() not in used]
    return report
