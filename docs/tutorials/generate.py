# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the pages and the notebooks of the tutorials from their scripts.

    python docs/tutorials/generate.py [NAME ...]     run scripts, write both
    python docs/tutorials/generate.py --check        compare, run nothing
    python docs/tutorials/generate.py --text [NAME ...]
                             write text and code anew, keep recorded outputs

`scripts/NAME.py` gives `NAME.ipynb`, `NAME.md` and the pictures in `images/`.
The notebook holds the recorded outputs, and the page is made from it. The
comparison takes these outputs as they are, because times and the last digits
of numbers differ between machines. The tests run the scripts.
"""

import argparse
import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from percent_cells import Cell, read_cells  # noqa: E402

Notebook = dict[str, Any]


def script_names() -> list[str]:
    """Return the names of all tutorials, in alphabetical order."""
    return sorted(path.stem for path in (HERE / 'scripts').glob('*.py'))


def run_script(
    script: Path, folder: Path, short: bool = False
) -> dict[str, Any]:
    """Run a tutorial in a process and a folder of its own.

    Args:
        script: The script.
        folder: An empty folder. The tutorial writes only there.
        short: Whether to make the changes that the script names for tests.

    Returns:
        `outputs`, as `run_cells.run_cells` returns them, and `cpu_seconds`.
    """
    out = folder / '.outputs.json'
    # Its own window of the terminal: pages look the same on each machine.
    environment = {**os.environ, 'COLUMNS': '80'}
    command = [sys.executable, str(HERE / 'run_cells.py'), str(script)]
    subprocess.run(
        [*command, str(out), *(['--short'] if short else [])],
        cwd=folder,
        env=environment,
        check=True,
    )
    return json.loads(out.read_text())


# -- notebooks ---------------------------------------------------------------


def make_notebook(
    cells: list[Cell],
    outputs: list[list[dict[str, str]]],
    seconds: float | None,
) -> Notebook:
    """Make a notebook of format 4.5.

    Args:
        cells: All cells of the script.
        outputs: What each of them showed.
        seconds: Processor time of the whole script, if it is known.

    Returns:
        The notebook, as `json.dump` takes it.
    """
    made = []
    for index, (cell, shown) in enumerate(zip(cells, outputs, strict=True)):
        if cell.shown:
            made.append(_notebook_cell(cell, shown, index))
    known = {} if seconds is None else {'cpu_seconds': round(seconds)}
    kernel = {'display_name': 'Python 3', 'language': 'python'}
    return {
        'cells': made,
        'metadata': {
            'kernelspec': {**kernel, 'name': 'python3'},
            'language_info': {'name': 'python'},
            'mmcae': known,
        },
        'nbformat': 4,
        'nbformat_minor': 5,
    }


def _notebook_cell(
    cell: Cell, shown: list[dict[str, str]], index: int
) -> dict[str, Any]:
    key = hashlib.sha256(f'{index} {cell.source}'.encode()).hexdigest()[:8]
    common = {'id': key, 'metadata': {}}
    if cell.kind == 'markdown':
        source = cell.source.splitlines(keepends=True)
        return {'cell_type': 'markdown', **common, 'source': source}
    magic = '%%bash\n' if cell.kind == 'bash' else ''
    if 'skip' in cell.tags:
        magic = f'{magic}# (not run)\n'
    return {
        'cell_type': 'code',
        **common,
        'execution_count': None,
        'outputs': [_notebook_output(output) for output in shown],
        'source': (magic + cell.source).splitlines(keepends=True),
    }


def _notebook_output(output: dict[str, str]) -> dict[str, Any]:
    if 'text' in output:
        text = (output['text'] + '\n').splitlines(keepends=True)
        return {'name': 'stdout', 'output_type': 'stream', 'text': text}
    return {
        'data': {'image/png': output['png']},
        'metadata': {},
        'output_type': 'display_data',
    }


def recorded_outputs(
    cells: list[Cell], notebook: Notebook
) -> list[list[dict[str, str]]]:
    """Return the outputs that a notebook holds, one list for each cell.

    Outputs of cells that the notebook does not have are empty lists.
    """
    shown = iter(notebook['cells'])
    outputs = []
    for cell in cells:
        of_cell = next(shown, {}) if cell.shown else {}
        outputs.append(
            [
                {'text': ''.join(output['text']).rstrip('\n')}
                if 'text' in output
                else {'png': output['data']['image/png']}
                for output in of_cell.get('outputs', [])
            ]
        )
    return outputs


# -- pages -------------------------------------------------------------------


def make_page(
    name: str,
    cells: list[Cell],
    outputs: list[list[dict[str, str]]],
    seconds: float | None,
) -> tuple[str, dict[str, bytes]]:
    """Make the page of a tutorial.

    Args:
        name: Name of the tutorial.
        cells: All cells of the script.
        outputs: What each of them showed.
        seconds: Processor time of the whole script, if it is known.

    Returns:
        The page in MyST, and its pictures, name to PNG.
    """
    pictures: dict[str, bytes] = {}
    parts = []
    for cell, shown in zip(cells, outputs, strict=True):
        if not cell.shown:
            continue
        if cell.kind == 'markdown':
            parts.append(cell.source)
            continue
        parts.append(f'```{cell.kind}\n{cell.source}\n```')
        for output in shown:
            if 'text' in output:
                parts.append(f'```text\n{output["text"]}\n```')
                continue
            picture = f'images/{name}_{len(pictures) + 1}.png'
            pictures[picture] = base64.b64decode(output['png'])
            parts.append(f'![Output of the cell above]({picture})')
    title, _, rest = parts[0].partition('\n')
    origin = (
        f'*Made from [scripts/{name}.py](scripts/{name}.py), which the tests '
        f'run; also a notebook: [{name}.ipynb]({name}.ipynb).'
        f'{_duration(seconds)}*'
    )
    parts[0] = f'{title}\n\n{origin}\n{rest}'.rstrip()
    first = f'<!-- Written by generate.py from scripts/{name}.py. -->\n\n'
    return first + '\n\n'.join(parts) + '\n', pictures


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ''
    if seconds < 90:
        text = f'{max(round(seconds, -1), 10):.0f} seconds'
    else:
        text = f'{seconds / 60:.0f} minutes'
    return f' All of it takes about {text} of one CPU core.'


# -- the command -------------------------------------------------------------


def _texts_of(notebook: Notebook) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + '\n'


def make_all(
    name: str, record: dict[str, Any] | None = None
) -> dict[Path, bytes]:
    """Make every file of a tutorial.

    Args:
        name: Name of the tutorial.
        record: What `run_script` returned. Without it, the outputs are those
            of the notebook that is there.

    Returns:
        Path to content.
    """
    cells = read_cells(HERE / 'scripts' / f'{name}.py')
    if record is None:
        notebook = json.loads((HERE / f'{name}.ipynb').read_text('utf-8'))
        outputs = recorded_outputs(cells, notebook)
        seconds = notebook['metadata']['mmcae'].get('cpu_seconds')
    else:
        outputs, seconds = record['outputs'], record.get('cpu_seconds')
    page, pictures = make_page(name, cells, outputs, seconds)
    notebook = make_notebook(cells, outputs, seconds)
    files = {
        HERE / f'{name}.md': page.encode(),
        HERE / f'{name}.ipynb': _texts_of(notebook).encode(),
    }
    files.update({HERE / path: png for path, png in pictures.items()})
    return files


def stale_files(names: list[str]) -> list[str]:
    """Return the files that are not what the scripts give."""
    stale = []
    for name in names:
        if not (HERE / f'{name}.ipynb').exists():
            stale.append(f'{name}.ipynb')
            continue
        files = make_all(name)
        for path, content in files.items():
            if not path.exists() or path.read_bytes() != content:
                stale.append(str(path.relative_to(HERE)))
        for path in sorted((HERE / 'images').glob(f'{name}_[0-9]*.png')):
            if path not in files:
                stale.append(f'{path.relative_to(HERE)} (not used)')
    return stale


def _write(name: str, files: dict[Path, bytes]) -> None:
    for path in (HERE / 'images').glob(f'{name}_[0-9]*.png'):
        path.unlink()
    for path, content in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', help='default: all tutorials')
    parser.add_argument(
        '--check',
        action='store_true',
        help='only say whether pages and notebooks are those of the scripts',
    )
    parser.add_argument(
        '--text',
        action='store_true',
        help='run nothing, and keep the recorded outputs',
    )
    args = parser.parse_args()
    names = args.names or script_names()
    if args.check:
        stale = stale_files(names)
        if stale:
            sys.exit(
                f'not what the scripts give: {", ".join(stale)}. Run '
                'python docs/tutorials/generate.py NAME'
            )
        return
    for name in names:
        record = None
        if not args.text:
            with tempfile.TemporaryDirectory() as folder:
                script = HERE / 'scripts' / f'{name}.py'
                record = run_script(script, Path(folder))
            print(f'{name}: {record["cpu_seconds"]:.0f} s of CPU time')
        _write(name, make_all(name, record))


if __name__ == '__main__':
    main()
