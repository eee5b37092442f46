# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the small segmentation dataset: layout, labels and errors."""

import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmcae.config.search_path import resource_root

WRITER = resource_root() / 'tools' / 'dataset_converters' / 'tiny_ade.py'


@pytest.fixture(scope='module')
def write():
    return runpy.run_path(str(WRITER))['write_tiny_ade']


def read(root, split):
    """Return images and label maps by file name without suffix."""
    images = sorted((root / 'images' / split).glob('*.jpg'))
    labels = sorted((root / 'annotations' / split).glob('*.png'))
    assert [i.stem for i in images] == [i.stem for i in labels]
    return {
        image.stem: (
            np.asarray(Image.open(image)),
            np.asarray(Image.open(label)),
        )
        for image, label in zip(images, labels, strict=True)
    }


def test_write__layout_and_labels_of_ade20k(write, tmp_path):
    write(tmp_path, train=12, val=3, digits=(3, 8), size=(80, 130))
    for split, count in (('training', 12), ('validation', 3)):
        samples = read(tmp_path, split)
        assert len(samples) == count
        for image, labels in samples.values():
            assert image.shape == (80, 130, 3)
            assert labels.shape == (80, 130)
            assert labels.dtype == np.uint8
            # not labeled, photograph and both digits
            assert set(np.unique(labels)) == {0, 1, 2, 3}
            assert (labels == 1).mean() > 0.5


def test_write__masks_are_the_strokes(write, tmp_path):
    """The image has one color inside a mask, and several around it."""
    write(tmp_path, train=12, val=0, per_image=1, digits=(0, 7))
    inside, outside = [], []
    for image, labels in read(tmp_path, 'training').values():
        stroke = image[labels >= 2].mean(0)
        around = image[labels == 1].mean(0)
        distance = np.abs(image - stroke).mean(-1)
        inside.append(distance[labels >= 2].mean())
        outside.append(np.abs(around - stroke).mean())
    assert np.mean(outside) > 3 * np.mean(inside)


def test_write__is_the_same_for_a_seed(write, tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        write(tmp_path / name, train=3, val=1, seed=seed)
    first, again, other = (read(tmp_path / n, 'training') for n in 'abc')
    assert first.keys() == again.keys() == other.keys()
    for name, (image, labels) in first.items():
        assert np.array_equal(image, again[name][0])
        assert np.array_equal(labels, again[name][1])
        assert not np.array_equal(labels, other[name][1])


def test_write__refuses_impossible_options(write, tmp_path, subtests):
    for options, words in (
        (dict(digits=(1, 10)), 'from 0 to 9'),
        (dict(digits=(1, 1)), 'contains a digit twice'),
        (dict(digit_size=97), 'do not fit into 96 x 128'),
        (dict(size=(96, 400)), 'room for at most 427 x 160'),
    ):
        with subtests.test(**options):
            with pytest.raises(ValueError, match=words):
                write(tmp_path, **options)
            assert not list(tmp_path.iterdir())


def test_command__keeps_existing_images(tmp_path):
    command = [sys.executable, str(WRITER), str(tmp_path), '--train', '2']
    command += ['--val', '1']
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.stdout == f'2 + 1 images in {tmp_path}\n'
    before = read(tmp_path, 'training')
    again = subprocess.run(
        [*command, '--seed', '5'], capture_output=True, text=True
    )
    assert again.returncode == 2
    assert 'has images already' in again.stderr
    for name, (image, _) in read(tmp_path, 'training').items():
        assert np.array_equal(image, before[name][0])
