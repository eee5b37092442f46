# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Unpack ImageNet's archives into class folders."""

import hashlib
import os
import subprocess
import sys
import tarfile

import pytest
import torch
import torchvision.datasets.imagenet as torchvision_imagenet
from helpers import tiny_imagenet as tiny
from helpers.tiny_imagenet import DEVKIT, TRAIN, VAL, WNIDS

import mmcae

SIZES = {WNIDS[3]: 3, WNIDS[0]: 2, WNIDS[900]: 2}
VAL_WNIDS = [WNIDS[i] for i in (65, 970, 230, 65)]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / 'downloads'
    tiny.write_train(folder / TRAIN, SIZES)
    tiny.write_val(folder / VAL, len(VAL_WNIDS))
    tiny.write_devkit(folder / DEVKIT, VAL_WNIDS)
    return folder


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'imagenet'


def expected():
    found = {
        f'train/{wnid}/{name}': data
        for wnid, count in SIZES.items()
        for name, data in tiny.train_images(wnid, count)
    }
    for number, wnid in enumerate(VAL_WNIDS, 1):
        found[f'val/{wnid}/{tiny.val_name(number)}'] = tiny.jpeg(number)
    return found


def test_prepare__writes_folders_that_training_reads(tmp_path, root):
    """With all 1,000 classes, the dataset accepts their number."""
    source = tmp_path / 'downloads'
    order = torch.randperm(1000).tolist()
    wnids = [WNIDS[i] for i in order]
    tiny.write_train(source / TRAIN, dict.fromkeys(wnids, 1))
    tiny.write_val(source / VAL, 1000)
    tiny.write_devkit(source / DEVKIT, wnids)
    before = tiny.files(source)
    assert tiny.run('prepare', source, root, '--subset') == 0
    assert tiny.files(source) == before
    train = mmcae.datasets.ImageNet(data_root=str(root), split='train')
    assert train.get_gt_labels().tolist() == list(range(1000))
    val = mmcae.datasets.ImageNet(data_root=str(root), split='val')
    for info in (val.get_data_info(i) for i in range(len(val))):
        number = int(info['img_path'][-13:-5])
        assert info['gt_label'] == order[number - 1]


def test_prepare__script_keeps_the_bytes_of_the_images(source, root):
    result = subprocess.run(
        [sys.executable, tiny.TOOL, 'prepare', source, root, '--subset'],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert tiny.files(root) == expected()
    assert 'train: 7 images of 3 classes' in result.stdout
    assert 'val: 4 images of 3 classes' in result.stdout


def test_prepare__incomplete_archive_is_an_error_without_subset(
    source, root, capsys
):
    assert tiny.run('prepare', source, root) == 1
    assert (
        'train: the archive holds 7 images of 3 classes, ImageNet has '
        '1,281,167 of 1,000'
    ) in capsys.readouterr().err
    assert tiny.files(root) == expected()


def test_prepare__resumes_after_a_truncated_archive(source, root, capsys):
    whole = (source / TRAIN).read_bytes()
    with tarfile.open(source / TRAIN) as tar:
        last = tar.getmembers()[-1]
    # Cut within the pixels of the second image of the last class.
    data = tiny.train_images(WNIDS[900], 1)[0][1]
    cut = last.offset_data + 512 * (3 + len(data) // 512) + 20
    (source / TRAIN).write_bytes(whole[:cut])
    assert tiny.run('prepare', source, root, '--subset') == 1
    error = capsys.readouterr().err
    assert f'{TRAIN} is damaged or incomplete' in error
    partial = tiny.files(root)
    assert len(partial) in (
        5,
        6,
    )  # the image at the cut may still be in a buffer
    assert partial.items() <= expected().items()
    times = {path: (root / path).stat().st_mtime_ns for path in partial}
    (source / TRAIN).write_bytes(whole)
    assert tiny.run('prepare', source, root, '--subset') == 0
    left = f'train: 7 images of 3 classes in {root / "train"}, '
    left += f'{7 - len(partial)} of them written now'
    assert left in capsys.readouterr().out
    assert tiny.files(root) == expected()
    for path, time in times.items():
        assert (root / path).stat().st_mtime_ns == time


def test_prepare__resumes_after_a_kill(source, root, monkeypatch):
    replace, done = os.replace, []

    def killed(*paths):
        done.append(paths)
        if len(done) == 4:
            raise KeyboardInterrupt
        replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', killed)
        with pytest.raises(KeyboardInterrupt):
            tiny.run('prepare', source, root, '--subset')
    assert len(tiny.files(root)) == 3
    # A killed process leaves this file.
    name = f'{WNIDS[900]}_1.JPEG'
    (root / 'train' / WNIDS[900]).mkdir()
    (root / 'train' / WNIDS[900] / f'.{name}.part').write_bytes(b'half')
    # A power failure leaves an empty file.
    (root / 'train' / WNIDS[0] / f'{WNIDS[0]}_1.JPEG').write_bytes(b'')
    assert tiny.run('prepare', source, root, '--subset') == 0
    assert tiny.files(root) == expected()


def test_prepare__never_overwrites(source, root, capsys):
    mine = root / 'train' / WNIDS[0] / f'{WNIDS[0]}_1.JPEG'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'a smaller version of it')
    assert tiny.run('prepare', source, root, '--subset') == 1
    error = capsys.readouterr().err
    assert (
        f'1 files exist already with another size than in the archive, e.g. '
        f'{mine}'
    ) in error
    assert mine.read_bytes() == b'a smaller version of it'
    assert len(tiny.files(root)) == len(expected())


LINK = dict(type=tarfile.SYMTYPE, linkname='/etc/hostname')
HARD = dict(type=tarfile.LNKTYPE, linkname='../../../outside')
PIPE = dict(type=tarfile.FIFOTYPE)


HOSTILE = [
    (('../../../evil.JPEG', b'x'), 'not a plain file name'),
    (('{outside}/evil.JPEG', b'x'), 'not a plain file name'),
    (('..', b'x'), 'not a plain file name'),
    (('folder/evil.JPEG', b'x'), 'not a plain file name'),
    (('symbolic.JPEG', b'', LINK), 'a link or a device'),
    (('hard.JPEG', b'', HARD), 'a link or a device'),
    (('pipe.JPEG', b'', PIPE), 'a link or a device'),
]


def test_prepare__refuses_hostile_members(source, tmp_path, capsys, subtests):
    outside = tmp_path / 'outside'
    outside.mkdir()
    for number, ((name, *content), message) in enumerate(HOSTILE):
        root = tmp_path / f'imagenet{number}'
        name = name.format(outside=outside)
        member = (name, *content)
        inner = tiny.archive([*tiny.train_images(WNIDS[0], 1), member])
        tiny.archive([(f'{WNIDS[0]}.tar', inner)], source / TRAIN)
        before = {p for p in tmp_path.rglob('*') if root not in p.parents}
        with subtests.test(member=name):
            assert tiny.run('prepare', source, root, '--subset') == 1
            error = capsys.readouterr().err
            assert message in error
            assert f"'{name}'" in error
            after = {p for p in tmp_path.rglob('*') if root not in p.parents}
            assert after - before == {root}
            image = f'train/{WNIDS[0]}/{WNIDS[0]}_0.JPEG'
            assert list(tiny.files(root)) == [image]


def test_prepare__refuses_unknown_classes(source, root, capsys, subtests):
    names = '../n01440764.tar', 'n99999999.tar', 'n01440764.zip', 'a/b.tar'
    images = tiny.archive([('a.JPEG', b'x')])
    for name in names:
        tiny.archive([(name, images)], source / TRAIN)
        with subtests.test(name=name):
            assert tiny.run('prepare', source, root, '--subset') == 1
            assert f"'{name}' is not " in capsys.readouterr().err
            assert not root.exists()


def test_prepare__checks_labels_before_writing(source, root, capsys):
    (source / DEVKIT).unlink()
    assert tiny.run('prepare', source, root, '--subset') == 1
    assert DEVKIT in capsys.readouterr().err
    assert not root.exists()
    (source / VAL).unlink()
    assert tiny.run('prepare', source, root, '--subset') == 0
    assert not (root / 'val').exists()
    (source / TRAIN).unlink()
    assert tiny.run('prepare', source, root, '--subset') == 1
    assert f'there is no {TRAIN} or {VAL} in' in capsys.readouterr().err


def test_prepare__refuses_an_image_without_label(source, root, capsys):
    tiny.write_val(source / VAL, 5)
    assert tiny.run('prepare', source, root, '--subset') == 1
    error = capsys.readouterr().err
    assert 'val_00000005.JPEG has no label: the labels name 4 images' in error


def test_prepare__md5(source, root, capsys, monkeypatch):
    assert tiny.run('prepare', source, root, '--md5', '--subset') == 1
    error = capsys.readouterr().err
    assert f'{TRAIN}: the MD5 checksum is not 1d675b47d978889d7' in error
    assert not root.exists()
    for split, name in (('train', TRAIN), ('val', VAL)):
        digest = hashlib.md5((source / name).read_bytes()).hexdigest()
        meta = torchvision_imagenet.ARCHIVE_META
        monkeypatch.setitem(meta, split, (name, digest))
    assert tiny.run('prepare', source, root, '--md5', '--subset') == 0


def test_read_devkit__agrees_with_torchvision(source, monkeypatch):
    digest = hashlib.md5((source / DEVKIT).read_bytes()).hexdigest()
    meta = torchvision_imagenet.ARCHIVE_META
    monkeypatch.setitem(meta, 'devkit', (DEVKIT, digest))
    torchvision_imagenet.parse_devkit_archive(source)
    classes, wnids = torchvision_imagenet.load_meta_file(source)
    kit = tiny.tool('imagenet_labels').read_devkit(source / DEVKIT)
    assert kit.val_wnids == wnids == VAL_WNIDS
    assert set(kit.train_sizes) == set(classes) == set(WNIDS)


def label_files():
    names = [tiny.val_name(i)[:-5] for i in range(1, 5)]
    rows = list(zip(names, VAL_WNIDS, strict=True))
    return {
        'LOC_val_solution.csv': 'ImageId,PredictionString\n'
        + ''.join(f'{n},{w} 1 2 300 400 {w} 5 6 7 8\n' for n, w in rows[::-1]),
        'val.txt': ''.join(
            f'{name}.JPEG {WNIDS.index(wnid)}\n' for name, wnid in rows[::-1]
        ),
        'synset_labels.txt': ''.join(f'{wnid}\n' for wnid in VAL_WNIDS),
    }


def test_validation_wnids__reads_every_source(source, subtests):
    for name, text in label_files().items():
        (source / name).write_text(text)
    with tarfile.open(source / DEVKIT) as tar:
        tar.extractall(source / 'kit')
    unpacked = ('kit', 'kit/ILSVRC2012_devkit_t12')
    for name in (*label_files(), *unpacked, DEVKIT):
        with subtests.test(source=name):
            wnids = tiny.tool('imagenet_labels').validation_wnids(
                source / name
            )
            assert wnids == dict(enumerate(VAL_WNIDS, 1))


def test_validation_wnids__refuses_plain_numbers(source):
    path = source / 'ILSVRC2012_validation_ground_truth.txt'
    path.write_text('490\n361\n')
    with pytest.raises(
        ValueError, match=r"line 1: found no class in '490'.*kit"
    ):
        tiny.tool('imagenet_labels').validation_wnids(path)
