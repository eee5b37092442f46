# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`mmcae pretrain` on images that are not 8-bit RGB, and what follows it."""

import shlex

import cv2
import numpy as np
import pytest
import tifffile
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer
from PIL import Image
from sklearn.datasets import load_sample_images

from mmcae.cli.planning import finetuning, length
from mmcae.cli.planning import measure as measure_module
from mmcae.cli.planning.choices import choose
from mmcae.cli.planning.folder import common_kind, look_at_folder
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.plan import PlanError, Request
from mmcae.config.overrides import load_config
from mmcae.datasets.channel_statistics import measure_channels
from mmcae_command import main

MACHINE = Machine(cores=2, memory=10**10, disk=10**11)


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch, tmp_path):
    """Two epochs of two steps, and an empty current folder."""
    monkeypatch.setattr(length, '_usual_epochs', lambda *args: 2)
    monkeypatch.setattr(measure_module, 'MOST_STEPS', 1)
    monkeypatch.setattr(finetuning, '_FEWEST_EPOCHS', 2)
    monkeypatch.setattr(finetuning, '_MOST_EPOCHS', 2)
    monkeypatch.chdir(tmp_path)


def run(*words):
    # mmengine names its singletons by the second.
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    try:
        return main([*map(str, words)]) or 0
    except SystemExit as end:
        return end.code


def one_error(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith('error: ')
    return lines[0]


def photographs(count=16):
    """Parts of scikit-learn's two pictures, uint8 ``(48, 64, 3)``."""
    rng = np.random.default_rng(0)
    pictures = load_sample_images().images
    for i in range(count):
        picture = pictures[i % 2]
        top, left = (rng.integers(0, n) for n in (370, 570))
        yield i, picture[top : top + 48, left : left + 64]


def four_channels(root):
    """RGB and a channel like infrared, uint16 with 12 bits, as TIFF."""
    for i, rgb in photographs():
        near = 255 - rgb[..., 2:]
        pixels = np.concatenate([rgb, near], axis=2).astype(np.uint16) * 16
        path = root / f'class{i % 2}' / f'{i}.tif'
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            path, pixels, photometric='minisblack', planarconfig='contig'
        )
    return root


def gray_16_bits(root):
    for i, rgb in photographs():
        pixels = 20_000 + 40 * rgb.mean(axis=2)
        path = root / f'class{i % 2}' / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels.astype(np.uint16))
    return root


def sixteen_channels(root):
    root.mkdir()
    for i, rgb in photographs(10):
        weights = np.random.default_rng(1).random((3, 16))
        pixels = (rgb / 255 @ weights).astype(np.float32)
        np.save(root / f'{i}.npy', pixels.transpose(2, 0, 1))
    return root


@pytest.mark.parametrize(
    ('make', 'channels', 'shown'),
    [
        pytest.param(
            four_channels,
            4,
            'channels 1, 2 and 3 of 4 as red, green and blue',
            marks=pytest.mark.slow,
        ),
        pytest.param(
            gray_16_bits,
            1,
            'channel 1 of 1 as gray',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_pretrain__to_the_end_and_on(make, channels, shown, tmp_path, capsys):
    images = make(tmp_path / 'images')
    assert run('pretrain', images, '--out', 'run') == 0
    printed = ' '.join(capsys.readouterr().out.split())
    many = 's' if channels > 1 else ''
    assert f'channels {channels} channel{many} of uint16, range' in printed
    assert 'measured on 16 images' in printed
    assert 'CAE: step 4 of 4, epoch 2 of 2, done' in printed
    assert 'become 8 bits' not in printed
    cfg = load_config('run/cae.py')
    assert cfg.model.backbone.in_channels == channels
    assert cfg.model.target_generator.in_channels == channels
    assert len(cfg.model.data_preprocessor.mean) == channels
    tokenizer = load_config('run/tokenizer.py')
    assert tokenizer.model.in_channels == channels
    assert len(tokenizer.model.pixel_mean) == channels
    finetune = load_config('run/finetune.py')
    assert finetune.model.backbone.in_channels == channels

    checkpoint = 'run/cae/epoch_2.pth'
    assert run('reconstruct', checkpoint, images, '--max-images', 2) == 0
    assert shown in capsys.readouterr().out
    with Image.open('out/reconstruction.png') as sheet:
        assert sheet.width > 100
    assert run('probe', checkpoint, images) == 0
    assert '16 images, 2 classes' in capsys.readouterr().out
    words = ('run/cae.py', checkpoint, images, 'a.npz', '--num-workers', 0)
    assert run('extract', *words) == 0
    with np.load('a.npz') as found:
        assert np.isfinite(found['features']).all()
        assert len(found['features']) == 16
    # Class folders are fine-tuned on with the same channels.
    val = finetune.val_dataloader.dataset
    assert val.pipeline[0].channels == channels
    assert run('finetune', checkpoint, images, '--out', 'ft') == 0
    printed = capsys.readouterr().out
    assert f'{channels} channel{many} of more than 8 bits' in printed
    assert 'of 4 held-out images' in printed
    again = load_config('ft/finetune.py')
    for part in (finetune, again):
        loading = part.train_dataloader.dataset.pipeline[0]
        assert loading.channels == channels
        assert loading.value_range == cfg.value_range
    shown = again.data_preprocessor
    assert shown.mean == pytest.approx(cfg.model.data_preprocessor.mean)
    (code,) = (line for line in printed.splitlines() if 'Inferencer' in line)
    image = next(path for path in images.rglob('*.*') if path.is_file())
    exec(shlex.split(code)[2].replace('IMAGE', str(image)), {})
    assert capsys.readouterr().out.strip().endswith(('class0', 'class1'))


def test_pretrain__plan_of_sixteen_channels_takes_a_step(tmp_path, capsys):
    images = sixteen_channels(tmp_path / 'arrays')
    (images / 'notes.txt').write_text('no image')
    assert run('pretrain', images, '--dry-run') == 0
    printed = ' '.join(capsys.readouterr().out.split())
    assert 'images 10 (NPY), short side 48 px' in printed
    assert 'channels 16 channels of float32, ranges' in printed
    assert '.npy' not in printed  # not left out


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.tif':
        tifffile.imwrite(
            path, pixels, photometric='minisblack', planarconfig='contig'
        )
    elif path.suffix == '.npy':
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    return str(path)


def test_folder__kinds_that_cannot_be_mixed(tmp_path, capsys):
    for i in range(3):
        save(tmp_path / f'{i}.png', np.full((9, 9, 3), i, np.uint8))
    for i in range(2):
        save(tmp_path / f'{i}.tif', np.full((9, 9, 4), i, np.uint16))
    assert run('pretrain', tmp_path) == 2
    message = one_error(capsys)
    assert '3 of those looked at have 8-bit gray or color' in message
    assert '2 have 4 channels of uint16; a model takes one kind' in message


def test_folder__the_common_kind(tmp_path):
    deep = [
        save(tmp_path / f'deep{i}.png', np.full((9, 9), i, np.uint16))
        for i in range(3)
    ]
    gray = save(tmp_path / 'gray.png', np.zeros((9, 9), np.uint8))
    clear = save(tmp_path / 'clear.png', np.zeros((9, 9, 4), np.uint8))
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    assert common_kind([gray, clear, str(broken)]) == (3, 'uint8')
    assert common_kind(deep) == (1, 'uint16')
    # A few 16-bit images among photographs become 8 bits, as before.
    assert common_kind([deep[0], gray, clear]) == (3, 'uint8')
    with pytest.raises(
        ValueError, match='3 of those looked at have 1 channel'
    ):
        common_kind([*deep, gray])


def test_folder__few_odd_images_among_photographs_are_left_out(tmp_path):
    for i in range(8):
        save(tmp_path / f'{i}.png', np.full((9, 9, 3), i, np.uint8))
    odd = np.zeros((9, 9, 5), np.uint16)
    save(tmp_path / 'odd.tif', odd)
    found = look_at_folder(tmp_path)
    assert found.is_plain
    assert found.unreadable == pytest.approx(1 / 9)
    assert found.first_unreadable.startswith('odd.tif (a TIFF that is not')
    # Too many of them are a folder of two kinds.
    for i in range(2):
        save(tmp_path / f'odd{i}.tif', odd)
    with pytest.raises(ValueError, match='several kinds are mixed'):
        look_at_folder(tmp_path)


def test_folder__range_and_moments_are_measured(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.uniform((0, -100), (1, 100), (40, 50, 2))
        pixels[0, 0] = 1e9  # a broken pixel of 2,000
        save(tmp_path / f'{i}.npy', pixels)
    bad = pixels.copy()
    bad[1, 1] = np.nan
    save(tmp_path / '4.npy', bad)
    folder = look_at_folder(tmp_path)
    assert (folder.channels, folder.depth) == (2, 'float64')
    assert folder.unreadable == 0.2
    assert 'NaN' in folder.first_unreadable
    (low, high), (negative, positive) = folder.value_range
    assert low == pytest.approx(0, abs=0.01)
    assert high == pytest.approx(1, abs=0.01)
    assert negative == pytest.approx(-100, abs=2)
    assert positive == pytest.approx(100, abs=2)
    assert folder.mean == pytest.approx((127.5, 127.5), abs=4)
    assert folder.std == pytest.approx((74, 74), abs=3)
    assert folder.decoded_bytes == 5 * 40 * 50 * 2 * 4
    # The same numbers each time, and a given range is kept.
    paths = [str(tmp_path / f'{i}.npy') for i in range(4)]
    found = measure_channels(paths, 2)
    assert found == measure_channels(paths, 2)
    assert found.value_range == folder.value_range
    given = measure_channels(paths, 2, (-100, 100))
    assert given.value_range == ((-100.0, 100.0),)
    assert given.mean[0] == pytest.approx(128.1, abs=0.3)


def test_folder__colors_share_a_range(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers((0, 0, 0), (4096, 1000, 50), (40, 50, 3))
    save(tmp_path / 'a.tif', pixels.astype(np.uint16))
    folder = look_at_folder(tmp_path)
    assert (folder.channels, folder.depth) == (3, 'uint16')
    assert len(folder.value_range) == 1
    assert folder.mean[0] > folder.mean[1] > folder.mean[2]


def test_folder__without_contrast_is_one_sentence(tmp_path, capsys):
    for i in range(9):
        save(tmp_path / f'{i}.npy', np.ones((9, 9, 4), np.float32))
    assert run('pretrain', tmp_path) == 2
    assert 'pixels of channel 1 have the value 1 in all' in one_error(capsys)


def test_plan__dalle_reads_color_only(tmp_path):
    folder = look_at_folder(four_channels(tmp_path / 'images'))
    with pytest.raises(PlanError, match='reads color, and the images have 4'):
        choose(folder, MACHINE, Request(size='tiny', target='dalle'))
