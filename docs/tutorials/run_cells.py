# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run the cells of a tutorial, and keep what each of them shows.

    python docs/tutorials/run_cells.py SCRIPT OUTPUTS.json [--short]

It does what Jupyter does, with Python alone: all cells of Python share their
names; printed text, the value of a last expression, and figures of matplotlib
are the outputs. A cell of shell commands ends at the first command that
fails. Everything is written below the current folder. `--short` makes the
changes that the script names for the tests.
"""

import ast
import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from percent_cells import Cell, read_cells, shorten

# What a terminal would draw over: color, and lines that a bar rewrites.
_ESCAPES = re.compile(r'\x1b\[[0-9;]*[A-Za-z]')
_REWRITTEN = re.compile(r'^.*\r(?!$)', re.MULTILINE)


def run_cells(cells: list[Cell]) -> list[list[dict[str, str]]]:
    """Run cells in the current folder.

    Args:
        cells: The cells of one tutorial.

    Returns:
        For each cell a list of outputs: `{'text': ...}` for printed text and
        `{'png': ...}` for a picture in base64.

    Raises:
        RuntimeError: If a command of the shell fails; what it printed stands
            in the message.
    """
    names: dict[str, Any] = {'__name__': '__main__'}
    outputs = []
    for cell in cells:
        if not cell.executed:
            outputs.append([])
        elif cell.kind == 'bash':
            outputs.append(_texts(_run_commands(cell.source)))
        else:
            outputs.append(_run_python(cell.source, names))
    return outputs


def _run_commands(commands: str) -> str:
    done = subprocess.run(
        ['bash', '-e', '-o', 'pipefail', '-c', commands],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f'{commands}\nended with status {done.returncode}:\n'
            f'{done.stdout[-3000:]}{done.stderr[-3000:]}'
        )
    return done.stdout


def _run_python(code: str, names: dict[str, Any]) -> list[dict[str, str]]:
    tree = ast.parse(code)
    last = tree.body[-1] if tree.body else None
    value = None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if isinstance(last, ast.Expr) and not code.rstrip().endswith(';'):
            tree.body.pop()
            exec(compile(tree, '<cell>', 'exec'), names)
            value = eval(
                compile(ast.Expression(last.value), '<cell>', 'eval'), names
            )
        else:
            exec(compile(tree, '<cell>', 'exec'), names)
    return [*_texts(printed.getvalue()), *_show(value), *_figures()]


def _show(value: Any) -> list[dict[str, str]]:
    if value is None:
        return []
    draw = getattr(value, '_repr_png_', None)
    picture = draw() if draw else None
    return [_picture(picture)] if picture else _texts(repr(value))


def _figures() -> list[dict[str, str]]:
    pyplot = sys.modules.get('matplotlib.pyplot')
    if pyplot is None:
        return []
    pictures = []
    for number in pyplot.get_fignums():
        file = io.BytesIO()
        pyplot.figure(number).savefig(file, format='png', bbox_inches='tight')
        pictures.append(_picture(file.getvalue()))
    pyplot.close('all')
    return pictures


def _picture(png: bytes) -> dict[str, str]:
    return {'png': base64.b64encode(png).decode()}


def _texts(text: str) -> list[dict[str, str]]:
    text = _ESCAPES.sub('', text.replace(f'{os.getcwd()}/', ''))
    text = _REWRITTEN.sub('', text).strip('\n')
    return [{'text': text}] if text else []


def _command_in_path(folder: str) -> None:
    """Let `mmcae`, `python` and `torchrun` be those of this interpreter."""
    modules = {'mmcae': '-m mmcae', 'python': ''}
    modules['torchrun'] = '-m torch.distributed.run'
    for name, module in modules.items():
        file = Path(folder, name)
        file.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        file.chmod(0o755)
    os.environ['PATH'] = f'{folder}{os.pathsep}{os.environ["PATH"]}'


def main() -> None:
    script, out, *options = sys.argv[1:]
    cells = read_cells(Path(script))
    if options == ['--short']:
        cells = shorten(cells, Path(script))
    os.environ['MPLBACKEND'] = 'Agg'
    with tempfile.TemporaryDirectory() as folder:
        _command_in_path(folder)
        outputs = run_cells(cells)
    # Not the time of the clock: other programs may be running.
    used = os.times()
    seconds = sum(used[:4])
    record = {'outputs': outputs, 'cpu_seconds': seconds}
    Path(out).write_text(json.dumps(record))


if __name__ == '__main__':
    main()
