# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Each tutorial comes from its script, and its script runs."""

import base64
import json
from pathlib import Path

import pytest
from helpers.scripts import load_script

TUTORIALS = Path(__file__).parents[2] / 'docs' / 'tutorials'
LIMIT = 80_000  # bytes of a picture


percent_cells = load_script('docs/tutorials/percent_cells.py')
run_cells = load_script('docs/tutorials/run_cells.py')
generate = load_script('docs/tutorials/generate.py')
NAMES = generate.script_names()


def _script(tmp_path, text):
    path = tmp_path / 'script.py'
    path.write_text(text)
    return path


SMALL = """# The license.
# In the tests: 3 -> 4
# %% [markdown]
# # Title
#
# Text
# %%
x = 3
print('value', x)
x + 1
# %% language="bash"
# echo from the shell
# %% tags=["check"]
assert x > 2
# %% language="bash" tags=["skip"]
# false
"""


def test_read_cells__kinds_and_tags(tmp_path):
    cells = percent_cells.read_cells(_script(tmp_path, SMALL))
    kinds = [cell.kind for cell in cells]
    assert kinds == ['markdown', 'python', 'bash', 'python', 'bash']
    assert cells[0].source == '# Title\n\nText'
    assert cells[2].source == 'echo from the shell'
    assert [cell.shown for cell in cells] == [True, True, True, False, True]
    assert [c.executed for c in cells] == [False, True, True, True, False]


def test_read_cells__text_without_comment_sign_is_an_error(tmp_path):
    path = _script(tmp_path, '# %% [markdown]\ntext\n')
    with pytest.raises(ValueError, match='must begin with "# "'):
        percent_cells.read_cells(path)


def test_shorten__replaces_what_the_head_names(tmp_path):
    path = _script(tmp_path, SMALL)
    cells = percent_cells.shorten(percent_cells.read_cells(path), path)
    assert 'x = 4' in cells[1].source
    path = _script(tmp_path, SMALL.replace('3 -> 4', 'absent -> 4'))
    with pytest.raises(ValueError, match="no cell has the text 'absent'"):
        percent_cells.shorten(percent_cells.read_cells(path), path)


def test_run_cells__keeps_what_cells_show(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = percent_cells.read_cells(_script(tmp_path, SMALL))
    outputs = run_cells.run_cells(cells)
    assert outputs[1] == [{'text': 'value 3'}, {'text': '4'}]
    assert outputs[2] == [{'text': 'from the shell'}]
    assert outputs[0] == outputs[3] == outputs[4] == []


def test_run_cells__failing_command_is_an_error(tmp_path):
    path = _script(tmp_path, '# %% language="bash"\n# false\n# echo on\n')
    with pytest.raises(RuntimeError, match='ended with status 1'):
        run_cells.run_cells(percent_cells.read_cells(path))


def test_notebook_and_page__show_the_same_outputs(tmp_path):
    cells = percent_cells.read_cells(_script(tmp_path, SMALL))
    png = base64.b64encode(b'png').decode()
    outputs = [[], [{'text': 'value 3'}, {'png': png}], [], [], []]
    notebook = generate.make_notebook(cells, outputs, 12)
    assert generate.recorded_outputs(cells, notebook) == outputs
    page, pictures = generate.make_page('small', cells, outputs, 12)
    assert '```text\nvalue 3\n```' in page
    assert pictures == {'images/small_1.png': b'png'}
    assert 'assert' not in page
    assert 'assert' not in json.dumps(notebook)


def test_stale_files__finds_a_changed_script(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, 'HERE', tmp_path)
    (tmp_path / 'scripts').mkdir()
    script = tmp_path / 'scripts' / 'small.py'
    script.write_text(SMALL)
    assert generate.stale_files(['small']) == ['small.ipynb']
    record = {'outputs': [[], [{'text': '3'}], [], [], []], 'cpu_seconds': 1}
    generate._write('small', generate.make_all('small', record))
    assert generate.stale_files(['small']) == []
    script.write_text(SMALL.replace('Text', 'Other text'))
    assert generate.stale_files(['small']) == ['small.md', 'small.ipynb']


def test_committed_tutorials__are_what_the_scripts_give():
    assert NAMES
    assert generate.stale_files(NAMES) == []


@pytest.mark.parametrize('name', NAMES)
def test_notebook__is_valid_and_small(name):
    notebook = json.loads((TUTORIALS / f'{name}.ipynb').read_text())
    assert (notebook['nbformat'], notebook['nbformat_minor']) == (4, 5)
    keys = [cell['id'] for cell in notebook['cells']]
    assert len(set(keys)) == len(keys)
    for picture in (TUTORIALS / 'images').glob(f'{name}_*.png'):
        assert picture.stat().st_size < LIMIT, picture.name


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_script__runs(name, tmp_path):
    """Every cell runs in an empty folder, and the checks in it hold."""
    if name == 'export':
        pytest.importorskip('timm')
    script = TUTORIALS / 'scripts' / f'{name}.py'
    record = generate.run_script(script, tmp_path, short=True)
    assert len(record['outputs']) == len(percent_cells.read_cells(script))


@pytest.mark.slow
def test_notebook__runs_in_jupyter(tmp_path):
    """A Jupyter kernel, where there is one, runs a notebook as it is."""
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    notebook = nbformat.read(TUTORIALS / 'visualize.ipynb', as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(
        notebook, resources={'metadata': {'path': str(tmp_path)}}
    ).execute()
