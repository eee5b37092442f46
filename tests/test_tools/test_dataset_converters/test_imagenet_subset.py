# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write lists and parts of ImageNet, and read them with the configs."""

import shutil

import pytest
from helpers import tiny_imagenet as tiny
from helpers.tiny_imagenet import DEVKIT, WNIDS
from mmengine.registry import DATASETS, init_default_scope

from mmcae.config.overrides import load_config

PRETRAIN = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'
FINETUNE = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'
LINEAR = 'beit-base-p16_cae-pre_8xb2048-linear-coslr-90e_in1k'
CLASSES = [WNIDS[i] for i in (0, 1, 2, 500)]


@pytest.fixture
def root(tmp_path):
    return tiny.write_tree(
        tmp_path / 'imagenet', 'train', dict.fromkeys(CLASSES, 6)
    )


def options(output):
    """Return the config options that a command printed."""
    words = [
        line.split('--cfg-options ')[1]
        if '--cfg-options' in line
        else line.split('with ')[1]
        for line in output.splitlines()
        if 'with ' in line
    ]
    return dict(word.split('=') for word in ' '.join(words).split())


def read(config, output, split='train'):
    """Return config and labels of a split, read with the printed options."""
    init_default_scope('mmpretrain')
    told = {
        key: int(value) if value.isdecimal() else value
        for key, value in options(output).items()
    }
    if config == PRETRAIN:
        told = {k: v for k, v in told.items() if 'num_classes' not in k}
    cfg = load_config(config, told)
    data = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    infos = [data.get_data_info(i) for i in range(len(data))]
    for i in range(len(infos)):
        assert data.prepare_data(i) is not None
    return cfg, {info['img_path']: info['gt_label'] for info in infos}


def test_lists__of_the_flat_validation_folder(tmp_path, capsys):
    wnids = [WNIDS[i] for i in (65, 970, 230, 809, 516)]
    kit = tiny.write_devkit(tmp_path / DEVKIT, wnids)
    root = tmp_path / 'imagenet'
    (root / 'val').mkdir(parents=True)
    for number in (1, 2, 4, 5):  # Image 3 is missing: the names decide.
        (root / 'val' / tiny.val_name(number)).write_bytes(tiny.jpeg(number))
    assert tiny.run('lists', root, 'val', '--labels', kit) == 0
    output = capsys.readouterr().out
    assert options(output) == {'data_root': str(root)}
    for split in ('val', 'test'):
        _, labels = read(LINEAR, output, split)
        assert labels == {
            f'{root}/val/{tiny.val_name(number)}': label
            for number, label in ((1, 65), (2, 970), (4, 809), (5, 516))
        }
    assert tiny.run('check', root, '--subset', '--split', 'val') == 0


def test_lists__writes_out_file_for_a_read_only_root(tmp_path, capsys):
    wnids = [WNIDS[i] for i in (65, 970)]
    kit = tiny.write_devkit(tmp_path / DEVKIT, wnids)
    root = tmp_path / 'imagenet'
    (root / 'val').mkdir(parents=True)
    for number in (1, 2):
        (root / 'val' / tiny.val_name(number)).write_bytes(tiny.jpeg(number))
    out = tmp_path / 'my_val.txt'
    command = ['lists', root, 'val', '--labels', kit, '--out', out]
    assert tiny.run(*command) == 0
    assert not (root / 'meta').exists()
    _, labels = read(FINETUNE, capsys.readouterr().out, 'val')
    assert list(labels.values()) == [65, 970]


def test_lists__without_labels_is_refused(root, capsys):
    (root / 'val').mkdir()
    (root / 'val' / tiny.val_name(1)).write_bytes(tiny.jpeg(1))
    assert tiny.run('lists', root, 'val') == 1
    assert 'pass the development kit' in capsys.readouterr().err
    assert not (root / 'meta').exists()


def test_lists__of_class_folders(tmp_path, root, capsys):
    assert tiny.run('lists', root, 'train') == 1
    error = capsys.readouterr().err
    assert "has 4 class folders, not ImageNet's 1,000" in error
    assert not (root / 'meta').exists()
    assert tiny.run('lists', root, 'train', '--subset') == 0
    _, labels = read(PRETRAIN, capsys.readouterr().out)
    assert labels == {
        f'{root}/train/{wnid}/{wnid}_{i}.JPEG': label
        for label, wnid in enumerate(CLASSES)
        for i in range(6)
    }
    whole = tiny.write_tree(
        tmp_path / 'whole', 'train', dict.fromkeys(WNIDS, 1)
    )
    assert tiny.run('lists', whole, 'train') == 0
    lines = (whole / 'meta' / 'train.txt').read_text().splitlines()
    assert lines[999] == f'{WNIDS[999]}/{WNIDS[999]}_0.JPEG 999'


def test_lists__never_overwrites(root, capsys):
    (root / 'meta').mkdir()
    mine = root / 'meta' / 'train.txt'
    mine.write_text('mine 1\n')
    assert tiny.run('lists', root, 'train', '--subset') == 1
    assert f'{mine} exists and has other lines' in capsys.readouterr().err
    assert mine.read_text() == 'mine 1\n'
    mine.unlink()
    for _ in range(2):  # the same list again is not an error
        assert tiny.run('lists', root, 'train', '--subset') == 0


def test_subset__configs_read_the_list(root, capsys):
    command = ['subset', root, 'train', '--per-class', 2, '--classes', 3]
    assert tiny.run(*command) == 0
    output = capsys.readouterr().out
    file = root / 'meta' / 'train_3-classes_2-per-class-seed0.txt'
    assert file.is_file()
    assert '6 images of 3 classes' in output
    for config in (PRETRAIN, LINEAR, FINETUNE):
        cfg, labels = read(config, output)
        assert list(labels.values()) == [0, 0, 1, 1, 2, 2]
        for path, label in labels.items():
            assert f'train/{CLASSES[label]}/' in path
        if config != PRETRAIN:
            assert cfg.model.head.num_classes == 3
            assert cfg.data_preprocessor.num_classes == 3
    ann_file = file.relative_to(root)
    check = ['check', root, '--split', 'train', '--ann-file', ann_file]
    assert tiny.run(*check) == 0


def lines_of(root, *args, per_class=2, seed=0):
    out = root / f'{per_class}-{seed}-{len(args)}.txt'
    command = ['subset', root, 'train', '--per-class', per_class]
    assert tiny.run(*command, '--seed', seed, '--out', out, *args) == 0
    return out.read_text().splitlines()


def test_subset__draw_is_fixed(root):
    """The draw is recorded, because another would change published numbers."""
    drawn = lines_of(root)
    numbers = [int(line.split()[0][-6]) for line in drawn]
    assert numbers == [2, 5, 0, 3, 1, 3, 0, 5]
    assert drawn != lines_of(root, seed=1)
    assert set(drawn) < set(lines_of(root, per_class=4))
    assert len(lines_of(root, per_class=9)) == 24


def test_subset__draw_depends_only_on_names(root, tmp_path):
    drawn = lines_of(root)
    flat = tmp_path / 'flat'
    (flat / 'train').mkdir(parents=True)
    for path in sorted((root / 'train').rglob('*.JPEG'), reverse=True):
        shutil.copy(path, flat / 'train')
    assert tiny.run('lists', flat, 'train') == 0
    list_file = flat / 'meta' / 'train.txt'
    shuffled = sorted(list_file.read_text().splitlines(), key=hash)
    list_file.write_text('\n'.join(shuffled))
    assert lines_of(flat) == [line.split('/')[1] for line in drawn]
    # The images that were not drawn do not influence the draw.
    kept = {line.split()[0] for line in drawn}
    for path in (root / 'train').rglob('*.JPEG'):
        if path.relative_to(root / 'train').as_posix() not in kept:
            path.unlink()
    assert lines_of(root) == drawn


def test_subset__classes_of_a_file(root, tmp_path, capsys):
    file = tmp_path / 'mine.txt'
    file.write_text(f'{CLASSES[3]} a dog\n\n{CLASSES[1]}\n')
    lines = lines_of(root, '--classes', file, per_class=1)
    assert [line.split('/')[0] for line in lines] == [CLASSES[1], CLASSES[3]]
    assert [line.split()[1] for line in lines] == ['0', '1']
    file.write_text(f'{WNIDS[7]}\n')
    assert tiny.run('subset', root, 'train', '--classes', file) == 1
    assert (
        f'1 of its 1 classes have no images in {root}'
        in capsys.readouterr().err
    )
    for count, message in ((0, 'names no classes'), (4, f'e.g. {WNIDS[3]}')):
        assert tiny.run('subset', root, 'train', '--classes', count) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize('how', ['--copy', '--link'])
def test_subset__copies_or_links_images(root, tmp_path, capsys, how):
    before = tiny.files(root)
    part = tmp_path / 'part'
    command = ['subset', root, 'train', '--per-class', 2, how, part]
    for _ in range(2):  # a second run is not an error
        assert tiny.run(*command) == 0
    assert tiny.files(root) == before
    output = capsys.readouterr().out
    assert f'--cfg-options data_root={part}\n' in output
    _, labels = read(LINEAR, output)
    assert list(labels.values()) == [0, 0, 1, 1, 2, 2, 3, 3]
    for path in labels:
        image = path.removeprefix(f'{part}/')
        assert tiny.files(part)[image] == before[image]
        assert (part / image).is_symlink() == (how == '--link')
    (part / image).unlink()
    (part / image).write_bytes(b'mine')
    assert tiny.run(*command) == 1
    assert 'exists and is another file' in capsys.readouterr().err
    assert (part / image).read_bytes() == b'mine'


def test_subset__needs_classes_or_per_class(root, capsys):
    with pytest.raises(SystemExit):
        tiny.run('subset', root, 'train')
    assert '--per-class, --classes or both' in capsys.readouterr().err
    (root / 'val').mkdir()
    assert tiny.run('subset', root, 'val', '--per-class', 1) == 1
    assert 'there are no images in' in capsys.readouterr().err
