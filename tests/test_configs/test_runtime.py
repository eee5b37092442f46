# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What all configs share."""

import re

import pytest
from mmengine.config import Config

from mmcae.config.search_path import resource_root

TRAINING = (
    'loss',
    'train/loss_recon',
    'data_time',
    'main',
    'train/acc',
    'cosine',
)
OTHERS = ('accuracy/top1', 'val/accuracy/top5', 'tokenizer/psnr', 'perplexity')


@pytest.fixture(scope='module')
def pattern():
    path = resource_root() / 'configs/_base_/default_runtime.py'
    return re.compile(Config.fromfile(path).log_processor.mean_pattern)


def test_log__training_numbers_are_means(pattern, subtests):
    for name in TRAINING:
        with subtests.test(name):
            assert pattern.match(name)


def test_log__evaluations_are_not_averaged(pattern, subtests):
    for name in OTHERS:
        with subtests.test(name):
            assert not pattern.match(name)
