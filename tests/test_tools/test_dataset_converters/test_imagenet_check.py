# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find missing and unreadable images of ImageNet."""

import json
import shutil

import pytest
from helpers import tiny_imagenet as tiny
from helpers.tiny_imagenet import DEVKIT, WNIDS


@pytest.fixture(scope='module')
def complete(tmp_path_factory):
    """Write 1,000 classes with 2 training images and 1 validation image."""
    root = tmp_path_factory.mktemp('complete')
    tiny.write_tree(root, 'train', dict.fromkeys(WNIDS, 2))
    tiny.write_tree(root, 'val', dict.fromkeys(WNIDS, 1))
    return root


@pytest.fixture
def numbers(monkeypatch):
    """Replace ImageNet's numbers of images by those of `complete`."""
    layout = tiny.tool('imagenet_layout')
    for split, size in (('train', 2), ('val', 1)):
        monkeypatch.setitem(layout.NUM_IMAGES, split, 1000 * size)
        monkeypatch.setitem(layout.PER_CLASS, split, (size, size))


@pytest.fixture
def part(tmp_path):
    """Write three classes of three images."""
    return tiny.write_tree(
        tmp_path / 'part', 'train', dict.fromkeys(WNIDS[:3], 3)
    )


def check(root, *args, split='train'):
    """Run the check, and return its exit status and the report of a split."""
    report = root / 'report.json'
    arguments = ['check', root, '--workers', 2, '--json', report, *args]
    if split:
        arguments += ['--split', split]
    status = tiny.run(*arguments)
    report = json.loads(report.read_text())
    assert report['ok'] == (status == 0)
    return status, report['splits'][split] if split else report['splits']


def test_check__complete_dataset_has_no_problems(complete, numbers, capsys):
    status, splits = check(complete, split=None)
    assert status == 0
    assert splits['train']['images'] == 2000
    assert splits['val']['classes'] == 1000
    assert splits['val']['layout'] == 'class folders'
    assert splits['val']['opened'] == 'every image decoded'
    assert 'train: 2,000 images of 1,000 classes' in capsys.readouterr().out


def test_check__reports_every_difference(complete, numbers, tmp_path, capsys):
    root = shutil.copytree(complete, tmp_path / 'imagenet')
    train = root / 'train'
    shutil.rmtree(train / WNIDS[5])
    (train / WNIDS[7] / f'{WNIDS[7]}_0.JPEG').unlink()
    shutil.copytree(train / WNIDS[8], train / 'strange')
    (train / WNIDS[9] / 'extra.jpg').write_bytes(tiny.jpeg(1))
    for file in (train / WNIDS[10]).iterdir():
        file.unlink()
    status, report = check(root, '--images', 'skip')
    assert status == 1
    assert report['missing_classes'] == [WNIDS[5]]
    assert report['empty_classes'] == [WNIDS[10]]
    assert report['short_classes'] == [f'{WNIDS[7]} (1 of 2)']
    assert report['large_classes'] == [f'{WNIDS[9]} (3, at most 2)']
    assert report['unknown_classes'] == ['strange']
    assert len(report['problems']) == 6
    error = capsys.readouterr().err
    assert f'train: 1 missing classes: {WNIDS[5]}\n' in error
    assert "2 images fewer than ImageNet's 2,000" in error


def test_check__without_devkit_compares_with_known_limits(part):
    status, report = check(part, '--images', 'skip')
    assert status == 1
    assert report['short_classes'][0] == f'{WNIDS[0]} (3 of at least 732)'
    assert len(report['missing_classes']) == 997


def test_check__devkit_gives_exact_class_sizes(part, tmp_path):
    sizes = {WNIDS[0]: 3, WNIDS[1]: 4, WNIDS[2]: 2}
    kit = tiny.write_devkit(tmp_path / DEVKIT, [], sizes)
    _, report = check(part, '--images', 'skip', '--devkit', kit)
    assert report['short_classes'] == [f'{WNIDS[1]} (3 of 4)']
    assert report['large_classes'] == [f'{WNIDS[2]} (3, at most 2)']


def damage(root):
    """Write one readable CMYK image and three unreadable files."""
    folder = root / 'train' / WNIDS[1]
    (folder / f'{WNIDS[1]}_0.JPEG').write_bytes(tiny.jpeg(1, mode='CMYK'))
    whole = tiny.jpeg(2, side=64)
    truncated = folder / f'{WNIDS[1]}_1.JPEG'
    truncated.write_bytes(whole[: len(whole) // 2 + 200])
    (folder / f'{WNIDS[1]}_2.JPEG').write_text('<html>not found</html>')
    (root / 'train' / WNIDS[2] / f'{WNIDS[2]}_0.JPEG').write_bytes(b'')
    return [
        f'{WNIDS[1]}/{WNIDS[1]}_1.JPEG',
        f'{WNIDS[1]}/{WNIDS[1]}_2.JPEG',
        f'{WNIDS[2]}/{WNIDS[2]}_0.JPEG',
    ]


def test_check__decoding_finds_every_unreadable_image(part, capsys):
    bad = damage(part)
    status, report = check(part, '--subset')
    assert status == 1
    found = report['unreadable_images']
    assert list(found) == bad
    assert 'truncated' in found[bad[0]]
    assert found[bad[1]] == 'not an image, or of an unknown format'
    assert found[bad[2]] == 'the file is empty'
    assert f'3 unreadable images: {bad[0]} (' in capsys.readouterr().err


def test_check__headers_miss_a_truncated_image(part):
    bad = damage(part)
    status, report = check(part, '--subset', '--images', 'header')
    assert status == 1
    assert list(report['unreadable_images']) == bad[1:]
    assert report['opened'] == 'headers read, pixels not'
    status, report = check(part, '--subset', '--images', 'skip')
    assert status == 0
    assert report['opened'] == 'images not opened'


def test_check__list_files(part):
    lines = [f'{WNIDS[i]}/{WNIDS[i]}_0.JPEG {i}' for i in range(3)]
    (part / 'meta').mkdir()
    file = part / 'meta' / 'train.txt'
    file.write_text('\n'.join(lines) + '\n')
    status, report = check(part, '--subset')
    assert status == 0
    assert (report['images'], report['layout']) == (3, 'list file')
    lines += [lines[0], f'{WNIDS[1]}/{WNIDS[1]}_1.JPEG 700', 'gone.JPEG 1']
    file.write_text('\n'.join(lines))
    status, report = check(part, '--images', 'skip')
    assert status == 1
    assert report['repeated_paths'] == [lines[0].split()[0]]
    assert report['wrong_labels'] == [lines[4]]
    assert report['unreadable_images'] == {
        'gone.JPEG': 'FileNotFoundError: no such file'
    }


def test_check__names_the_malformed_line(part, subtests):
    (part / 'meta').mkdir()
    file = part / 'meta' / 'some.txt'
    for line in ('', 'name_only.JPEG', 'a.JPEG one', 'a -1'):
        file.write_text(f'{WNIDS[0]}/{WNIDS[0]}_0.JPEG 0\n{line}\n')
        with subtests.test(line=line):
            status, report = check(part, '--ann-file', 'meta/some.txt')
            assert status == 1
            (problem,) = report['problems']
            assert f"{file}, line 2: expected 'path label'" in problem


def test_check__reports_missing_folders_and_images(part):
    status, splits = check(part, '--subset', split=None)
    assert status == 1
    assert splits['train']['problems'] == []
    assert splits['val']['problems'] == [f'{part / "val"} is not a folder']
    (part / 'val').mkdir()
    _, report = check(part, '--subset', split='val')
    assert report['problems'] == [f'there are no images in {part / "val"}']
    (part / 'val' / tiny.val_name(1)).write_bytes(tiny.jpeg(1))
    _, report = check(part, '--subset', split='val')
    assert 'are not in class folders' in report['problems'][0]
