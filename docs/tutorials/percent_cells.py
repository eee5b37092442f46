# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read the cells of a script in the percent format.

The format is that of Jupytext and of most editors: `# %%` begins a cell of
code, `# %% [markdown]` a cell of text, and `# %% language="bash"` a cell of
commands for the shell. Text and commands stand in comments, so the script is
a Python file that linters can check.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

_MARKER = re.compile(r'^# %%(?P<options>.*)$')
_SHORTER = re.compile(r'^# In the tests: (.+) -> (.+)$', re.MULTILINE)
_TAGS = re.compile(r'tags=\[(?P<tags>[^\]]*)\]')


@dataclass
class Cell:
    """One cell of a tutorial.

    Attributes:
        kind: 'markdown', 'python' or 'bash'.
        source: Text or code, without comment signs and without the marker.
        tags: 'check' marks a cell that tests what the tutorial did. It is
            run, but neither the page nor the notebook shows it. 'skip' marks
            a cell that is shown but not run, and says why in its text.
    """

    kind: str
    source: str
    tags: tuple[str, ...] = ()

    @property
    def shown(self) -> bool:
        """Whether the page and the notebook have this cell."""
        return 'check' not in self.tags

    @property
    def executed(self) -> bool:
        """Whether the cell is run."""
        return self.kind != 'markdown' and 'skip' not in self.tags


def read_cells(path: Path) -> list[Cell]:
    """Read the cells of a script.

    Args:
        path: A script in the percent format. What stands before its first
            marker (the license) is not part of any cell.

    Returns:
        The cells, in order. Cells without content are left out.

    Raises:
        ValueError: If a line of text or of commands is not a comment.
    """
    cells: list[Cell] = []
    lines: list[str] | None = None
    options = ''
    for line in [*path.read_text(encoding='utf-8').splitlines(), '# %%']:
        marker = _MARKER.match(line)
        if marker is None:
            if lines is not None:
                lines.append(line)
            continue
        if lines is not None:
            cell = _make_cell(options, lines, path)
            if cell.source:
                cells.append(cell)
        lines, options = [], marker['options']
    return cells


def shorten(cells: list[Cell], path: Path) -> list[Cell]:
    """Make the changes with which the tests run a script in less time.

    A line `# In the tests: OLD -> NEW` in the head of a script names one.

    Args:
        cells: The cells of the script.
        path: The script.

    Returns:
        New cells.

    Raises:
        ValueError: If a text that should be replaced is nowhere.
    """
    for old, new in _SHORTER.findall(path.read_text(encoding='utf-8')):
        changed = [
            replace(c, source=c.source.replace(old, new)) for c in cells
        ]
        if changed == cells:
            raise ValueError(f'{path.name}: no cell has the text {old!r}')
        cells = changed
    return cells


def _make_cell(options: str, lines: list[str], path: Path) -> Cell:
    tags = _TAGS.search(options)
    names = re.findall(r'"([^"]+)"', tags['tags']) if tags else []
    if '[markdown]' in options:
        kind = 'markdown'
    else:
        kind = 'bash' if 'language="bash"' in options else 'python'
    if kind != 'python':
        lines = [_without_comment_sign(line, path) for line in lines]
    return Cell(kind, '\n'.join(lines).strip(), tuple(names))


def _without_comment_sign(line: str, path: Path) -> str:
    if not line.strip():
        return ''
    if not line.startswith('#'):
        raise ValueError(
            f'{path.name}: {line!r} stands in a cell of text or of commands '
            'for the shell, so it must begin with "# "'
        )
    return line[2:] if line.startswith('# ') else line[1:]
