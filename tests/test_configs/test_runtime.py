"""What all configs share."""

import re

import pytest
from mmengine.config import Config

from mmcae.config.search_path import resource_root


@pytest.fixture(scope='module')
def pattern():
    path = resource_root() / 'configs/_base_/default_runtime.py'
    return re.compile(Config.fromfile(path).log_processor.mean_pattern)


@pytest.mark.parametrize(
    'name',
    ['loss', 'train/loss_recon', 'data_time', 'main', 'train/acc', 'cosine'],
)
def test_log__training_numbers_are_means(pattern, name):
    assert pattern.match(name)


@pytest.mark.parametrize(
    'name',
    ['accuracy/top1', 'val/accuracy/top5', 'tokenizer/psnr', 'perplexity'],
)
def test_log__evaluations_are_their_own(pattern, name):
    assert not pattern.match(name)
