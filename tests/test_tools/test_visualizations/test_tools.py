# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The tools that draw, in this process and on a tiny model."""

import importlib
import shutil
import sys

import numpy as np
import pytest
from helpers.scripts import ROOT, importable
from helpers.tiny_checkpoint import CONFIG, write_checkpoints
from PIL import Image

from mmcae.cli.reconstruct import parse_mask

FOLDER = ROOT / 'tools' / 'visualizations'
NAMES = ('reconstruct', 'attention', 'features', 'neighbors', 'embedding')


def load(name):
    """Import a tool; its name is also that of other modules."""
    before = sys.modules.pop(name, None)
    try:
        with importable(FOLDER):
            return importlib.import_module(name)
    finally:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before


@pytest.fixture(scope='module')
def start():
    return load('visualization_cli').start


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a run and with images in two classes."""
    root = tmp_path_factory.mktemp('place')
    write_checkpoints(root)
    rng = np.random.default_rng(0)
    for number in range(8):
        folder = root / 'images' / ('cats' if number < 4 else 'dogs')
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    return root


@pytest.fixture
def run(place, start, monkeypatch):
    """Run a tool with arguments; the checkpoint comes first."""

    def call(name, *args, checkpoint=True):
        monkeypatch.chdir(place)
        shutil.rmtree(place / 'out', ignore_errors=True)
        tool = load(name)
        first = [f'work_dirs/{CONFIG}/epoch_80.pth'] if checkpoint else []
        given = [*first, *map(str, args)]
        start(tool.__doc__, tool.add_arguments, tool.main, given)

    return call


def size(path):
    with Image.open(path) as image:
        return image.size


def test_reconstruct__writes_pages_of_rows(run, place, capsys):
    mask = np.zeros((40, 48), dtype=np.uint8)
    mask[:20] = 255
    Image.fromarray(mask).save(place / 'mask.png')
    run(
        *('reconstruct', 'images', '--mask', 0.5, '0,0,20,20', 'mask.png'),
        *('--seed', 0, 1, '--rows', 10, '--batch-size', 5),
        *('--max-images', 4),
    )
    out = capsys.readouterr().out
    pages = sorted(p.name for p in (place / 'out').iterdir())
    assert pages == ['reconstruction.png', 'reconstruction_2.png']
    assert '16 reconstructions, token accuracy 0.' in out
    large, small = (size(place / 'out' / page) for page in pages)
    assert large[1] > small[1]
    assert 'note' not in out


def test_reconstruct__leaves_unreadable_files_out(run, place, capsys):
    (place / 'mixed').mkdir()
    shutil.copy(place / 'images/cats/0.png', place / 'mixed')
    (place / 'mixed' / 'bad.png').write_text('text')
    run('reconstruct', 'mixed', '--out', 'out/x.jpg')
    out = capsys.readouterr().out
    assert '1 reconstruction,' in out
    assert 'left out: mixed/bad.png' in out
    assert size(place / 'out/x.jpg')


def test_attention__of_class_token_and_patch(run, place):
    run('attention', 'images', '--max-images', 3)
    columns = size(place / 'out/attention.png')
    run('attention', 'images/cats/0.png', '--patch', '1,2', '--heads', 1)
    assert size(place / 'out/attention.png')[0] < columns[0] * 1.2


def test_features__of_several_images(run, place, capsys):
    run('features', 'images', '--columns', 4)
    assert 'the three components explain' in capsys.readouterr().out
    before = size(place / 'out/features.png')
    run('features', 'images', '--foreground', '--columns', 4)
    assert size(place / 'out/features.png') == before


def test_neighbors__leave_the_query_out(run, place, capsys):
    run(
        *('neighbors', 'images/cats/1.png', '--folder', 'images'),
        *('--count', 20),
    )
    line = capsys.readouterr().out.splitlines()[0]
    found = line.split(': ')[1].split(', ')
    assert len(found) == 7
    assert 'cats/1.png' not in found
    assert size(place / 'out/neighbors.png')


def test_embedding__is_a_page_or_a_picture(run, place):
    run('embedding', 'images', '--method', 'pca')
    page = (place / 'out/embedding.html').read_text()
    assert page.count('data:image/jpeg') == 8
    assert '"cats"' in page
    assert '8 images, pca, epoch_80' in page
    run('embedding', 'images', '--out', 'out/map.png', '--max-images', 5)
    assert size(place / 'out/map.png')


def test_browse_dataset__of_a_config(run, place):
    run(
        *('browse_dataset', CONFIG, '--images', 1, 5, '--epochs', 2),
        *('--cfg-options', f'data_root={place / "images"}'),
        checkpoint=False,
    )
    assert size(place / 'out/dataset.png')


@pytest.mark.parametrize('name', [*NAMES, 'browse_dataset'])
def test_help__says_what_the_tool_does(name, start, capsys):
    tool = load(name)
    with pytest.raises(SystemExit) as stop:
        start(tool.__doc__, tool.add_arguments, tool.main, ['--help'])
    assert stop.value.code == 0
    assert '--out' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('args', 'sentence'),
    [
        (('reconstruct', 'nowhere'), 'image or folder nowhere is not there'),
        (
            ('reconstruct', 'images', '--mask', '0,0,90,9'),
            'the box (0, 0, 90, 9) must be',
        ),
        (
            ('reconstruct', 'images', '--mask', 'images/cats/0.jpg'),
            'the mask images/cats/0.jpg is not there',
        ),
        (('reconstruct', 'images', '--rows', 0), '1 or more'),
        (
            ('reconstruct', 'images', '--out', 'x.abc'),
            'x.abc must end in .png',
        ),
        (('attention', 'images', '--patch', '4,0'), 'no patch 4,0'),
        (('embedding', 'images/cats/0.png'), '1 images are too few'),
        (('neighbors', 'a.png', '--folder', 'images'), 'a.png is not there'),
    ],
)
def test_mistakes__end_in_one_sentence(run, args, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*args)
    assert stop.value.code
    text = capsys.readouterr().err.splitlines()[-1]
    assert 'error: ' in text
    assert sentence in text


def test_parse_mask__ratio_box_or_file():
    assert parse_mask('0.3') == 0.3
    assert parse_mask('1,2,3,4') == [1, 2, 3, 4]
    assert parse_mask('a,b.png') == 'a,b.png'
