# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a check found, saved row by row, and the table of all checks."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'
REACHED, MISSED, NOTED = 'reached', 'not reached', 'noted'


class SkipCheck(Exception):  # noqa: N818  (no error)
    """Raised by a check that cannot run here; the message says why."""


@dataclass(frozen=True)
class Row:
    """One finding.

    Attributes:
        what: What was measured.
        value: The number or text that was found.
        bound: What was asked for, as text; empty if nothing was.
        status: ``passed`` or ``failed`` (requirements), ``reached`` or
            ``not reached`` (goals), ``noted`` or ``skipped``.
    """

    what: str
    value: Any
    bound: str
    status: str


class Report:
    """Collects the rows of one check.

    Each row is written to the file at once, so that a check that is killed
    leaves what it had found.

    Args:
        path: The JSON file. Defaults to None: nothing is written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.details: dict[str, Any] = {}
        self.save('running')

    def require(
        self,
        what: str,
        value: float | bool,
        least: float | None = None,
        most: float | None = None,
    ) -> bool:
        """Add a requirement; returns whether it is met.

        Without bounds ``value`` itself says whether. NaN meets no bound.
        """
        return self._compare(what, value, least, most, PASSED, FAILED)

    def goal(
        self,
        what: str,
        value: float,
        least: float | None = None,
        most: float | None = None,
    ) -> bool:
        """Add a goal, which fails no check; returns whether it is reached."""
        return self._compare(what, value, least, most, REACHED, MISSED)

    def note(self, what: str, value: Any) -> None:
        """Add a number or a text of which nothing is asked."""
        self._add(Row(what, value, '', NOTED))

    def skip(self, what: str, reason: str) -> None:
        """Add something that could not be measured here."""
        self._add(Row(what, reason, '', SKIPPED))

    def detail(self, name: str, value: Any) -> None:
        """Keep data for the JSON file that the table does not show."""
        self.details[name] = value
        self.save('running')

    @property
    def status(self) -> str:
        """``failed`` if a requirement is not met, else ``passed``."""
        found = {row.status for row in self.rows}
        if FAILED in found:
            return FAILED
        return SKIPPED if found == {SKIPPED} else PASSED

    def save(self, status: str, **more: Any) -> None:
        """Write the JSON file.

        Args:
            status: ``running`` until the check is done.
            **more: Further entries, such as ``reason``.
        """
        if self.path is None:
            return
        result = dict(
            status=status,
            rows=[asdict(row) for row in self.rows],
            details=self.details,
            **more,
        )
        partial = self.path.with_suffix('.partial')
        partial.write_text(json.dumps(result, indent=1, default=str) + '\n')
        partial.replace(self.path)

    def _compare(
        self,
        what: str,
        value: float | bool,
        least: float | None,
        most: float | None,
        yes: str,
        no: str,
    ) -> bool:
        if least is None and most is None:
            good, bound = bool(value), 'yes'
        else:
            good = not math.isnan(value)
            good = good and (least is None or value >= least)
            good = good and (most is None or value <= most)
            bounds = []
            if least is not None:
                bounds.append(f'>= {format_value(least)}')
            if most is not None:
                bounds.append(f'<= {format_value(most)}')
            bound = ', '.join(bounds)
        self._add(Row(what, value, bound, yes if good else no))
        return good

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.save('running')


def format_value(value: Any) -> str:
    """A number with four significant digits; other things as text."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, int):
        return f'{value:,}'
    if isinstance(value, float):
        large = 1000 <= abs(value) < 1e9
        return f'{value:,.0f}' if large else f'{value:.4g}'
    return str(value).replace('|', '/').replace('\n', ' ')


def summary_table(results: Mapping[str, Mapping]) -> str:
    """Markdown: a row a check.

    Args:
        results: By name of the check: ``status``, ``seconds``, ``title``,
            and ``reason`` if there is one.
    """
    rows = ['| check | result | seconds | why |', '|---|---|---|---|']
    for name, result in results.items():
        reason = result.get('reason') or ', '.join(
            row['what'] for row in result['rows'] if row['status'] == FAILED
        )
        rows.append(
            f'| {name}: {result["title"]} | {result["status"]} '
            f'| {result["seconds"]:.0f} | {format_value(reason)} |'
        )
    return '\n'.join(rows) + '\n'


def rows_table(rows: Sequence[Mapping]) -> str:
    """Markdown: a row a finding."""
    lines = ['| | found | asked | result |', '|---|---|---|---|']
    for row in rows:
        lines.append(
            f'| {format_value(row["what"])} | {format_value(row["value"])} '
            f'| {row["bound"]} | {row["status"]} |'
        )
    return '\n'.join(lines) + '\n'


def full_text(results: Mapping[str, Mapping], machine: str) -> str:
    """The Markdown file: the summary, and a table for each check."""
    parts = [f'Machine: {machine}.\n', summary_table(results)]
    for name, result in results.items():
        parts.append(f'## {name}: {result["title"]}\n')
        if result['rows']:
            parts.append(rows_table(result['rows']))
        if result.get('traceback'):
            parts.append(f'```text\n{result["traceback"].rstrip()}\n```\n')
    return '\n'.join(parts)
