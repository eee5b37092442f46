# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What `mmcae pretrain` sees of a folder and of a machine."""

import shutil

import numpy as np
import pytest
from PIL import Image

from mmcae.cli.planning import machine as machine_module
from mmcae.cli.planning.folder import count_images, look_at_folder
from mmcae.cli.planning.machine import look_at_machine, usable_cores


def save(path, size=(40, 30), mode='RGB', seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    channels = {'RGB': (3,), 'RGBA': (4,), 'L': (), 'I;16': ()}[mode]
    shape = (size[1], size[0], *channels)
    if mode == 'I;16':
        pixels = rng.integers(0, 65_536, shape, dtype=np.uint16)
    else:
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope='module')
def mixed(tmp_path_factory):
    root = tmp_path_factory.mktemp('My Photos, 2026')
    for index in range(4):
        save(root / f'cats/{index}.png', seed=index)
    save(root / 'cats/alpha.png', mode='RGBA')
    save(root / 'dogs/deep.png', mode='I;16')
    save(root / 'dogs/gray.jpg', mode='L')
    save(root / 'dogs/large.jpg', size=(400, 200))
    shutil.copy(root / 'cats/0.png', root / 'dogs/copy.png')
    (root / 'dogs/broken.jpg').write_bytes(b'no image')
    (root / 'notes.txt').write_text('no image either')
    (root / 'phone.heic').write_bytes(b'x')
    (root / '.hidden.png').write_bytes(b'x')
    return root


def test_folder__of_mixed_files(mixed):
    folder = look_at_folder(mixed)
    assert folder.images == 10
    assert folder.sampled == 10
    assert folder.short_side == 30
    assert folder.sides == (30, 200)
    assert dict(folder.formats) == {'PNG': 7, 'JPEG': 2}
    assert folder.unreadable == 0.1
    assert folder.first_unreadable.startswith('dogs/broken.jpg (')
    assert folder.alpha == pytest.approx(1 / 9)
    assert folder.deep == pytest.approx(1 / 9)
    assert folder.gray == pytest.approx(2 / 9)
    assert folder.duplicates == 1
    assert folder.subfolders == (('cats', 5), ('dogs', 5))
    assert folder.others == (('.heic', 1),)
    assert folder.decoded_bytes > 10 * 3 * 30 * 40
    assert not folder.is_list


def test_folder__mean_and_deviation_are_those_of_the_pixels(tmp_path):
    for index, value in enumerate((0, 200)):
        pixels = np.full((20, 20, 3), (value, 100, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{index}.png')
    folder = look_at_folder(tmp_path)
    assert folder.mean == (100.0, 100.0, 50.0)
    assert folder.std == (100.0, 1.0, 1.0)


def test_folder__a_list_of_paths(mixed):
    names = mixed / 'some.txt'
    names.write_text('# chosen\ncats/0.png\n\ncats/1.png\n')
    folder = look_at_folder(names)
    assert folder.is_list
    assert folder.images == count_images(names) == 2
    assert folder.subfolders == ()
    names.unlink()


def test_folder__samples_all_parts(tmp_path, monkeypatch):
    from mmcae.cli.planning import folder as folder_module

    for index in range(10):
        side = 20 if index < 8 else 60
        save(tmp_path / f'{index}.png', size=(side, side))
    monkeypatch.setattr(folder_module, 'MOST_SAMPLED', 5)
    folder = look_at_folder(tmp_path)
    assert (folder.images, folder.sampled) == (10, 5)
    assert folder.sides == (20, 60)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda root: root / 'none', 'there is no folder'),
        (lambda root: root, 'no image in'),
        (lambda root: save(root / 'a.png'), 'is an image: give a folder'),
        (
            lambda root: listing(root, 'b.png'),
            'names 1 files, and 1 are not there, such as',
        ),
        (lambda root: listing(root, ''), 'names 0 files'),
        (
            lambda root: (root / 'x.jpg').write_bytes(b'x') and root,
            'none of 1 files looked at',
        ),
        (
            lambda root: (root / 'x.heic').write_bytes(b'x') and root,
            'it has 1 .heic files',
        ),
    ],
)
def test_folder__without_images(make, words, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        look_at_folder(make(tmp_path))
    assert words in str(error.value)
    assert '\n' not in str(error.value)


def listing(root, text):
    path = root / 'list.txt'
    path.write_text(text)
    return path


def test_machine__has_something_of_everything(tmp_path):
    machine = look_at_machine(tmp_path / 'not' / 'there')
    assert machine.cores >= 1
    assert machine.memory > 1e8
    assert machine.disk > 1e6


def test_machine__keeps_the_limits_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, '_CGROUP', tmp_path)
    free = machine_module.usable_memory()
    (tmp_path / 'cpu.max').write_text('100000 100000\n')
    (tmp_path / 'memory.max').write_text('3000000\n')
    (tmp_path / 'memory.current').write_text('1000000\n')
    assert usable_cores() == 1
    assert machine_module.usable_memory() == 2_000_000 < free
    (tmp_path / 'cpu.max').write_text('max 100000\n')
    (tmp_path / 'memory.max').write_text('max\n')
    assert machine_module.usable_memory() > 2_000_000
