# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`check_images.py` names what a training could not or should not read."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.toy_project import run_script
from PIL import Image

TOOL = Path(__file__).parents[3] / 'tools/dataset_converters/check_images.py'


def save(path: Path, height: int, width: int, gray: bool = False) -> Path:
    rng = np.random.default_rng(height * width)
    shape = (height, width) if gray else (height, width, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Run the tool; return status, standard output and standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        words = [*arguments, '--workers', 2]
        status = run_script(TOOL, words, tmp_path, monkeypatch)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('images')
    good = save(folder / 'a/good.png', 50, 60)
    (folder / 'b').mkdir()
    (folder / 'b/copy.png').write_bytes(good.read_bytes())
    save(folder / 'b/tiny.png', 8, 60)
    save(folder / 'b/huge.png', 400, 3000)
    save(folder / 'c/gray.png', 40, 40, gray=True)
    whole = save(folder / 'c/cut.png', 64, 64).read_bytes()
    (folder / 'c/cut.png').write_bytes(whole[: len(whole) // 2])
    (folder / 'c/text.jpg').write_text('no image')
    (folder / 'c/empty.jpg').write_bytes(b'')
    (folder / 'c/two\nlines.jpg').write_text('no image')
    (folder / os.fsdecode(b'c/not-utf8-\xff.jpg')).write_text('no image')
    return folder


def test_report__names_every_kind(folder, tmp_path, check):
    status, out, _ = check(
        folder, '--max-megapixels', 1, '--json', tmp_path / 'report.json'
    )
    assert status == 1
    lines = out.splitlines()
    for line in (
        '10 images, 1 without a remark',
        '1 truncated (the file ends before the image does)',
        '4 unreadable (not an image, or damaged)',
        '  b/tiny.png: 60 x 8',
        '  b/huge.png: 3000 x 400',
        '  c/gray.png: 40 x 40',
        '  b/copy.png: of a/good.png',
        '  c/empty.jpg: the file is empty',
    ):
        assert line in lines
    assert r'  c/two\nlines.jpg: not an image' in out
    found = json.loads((tmp_path / 'report.json').read_text())
    assert found['b/copy.png'] == {'duplicate': 'of a/good.png'}
    assert len(found) == 9


def test_limit__shortens_the_list(folder, check):
    assert '  ... and 3 more' in check(folder, '--limit', 1)[1]


def test_good_folder__exits_with_0(tmp_path, check):
    save(tmp_path / 'one.png', 40, 50)
    save(tmp_path / 'gray.png', 40, 51, gray=True)
    status, out, _ = check(tmp_path)
    assert status == 0
    assert '2 images, 1 without a remark' in out


@pytest.mark.parametrize(
    ('name', 'message'),
    [('missing', 'is not a folder'), ('', 'no image (.jpg')],
)
def test_no_images__exits_with_2(tmp_path, check, name, message):
    status, _, err = check(tmp_path / name)
    assert status == 2
    assert message in err
