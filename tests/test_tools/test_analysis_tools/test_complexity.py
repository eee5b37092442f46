# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Compare the counted multiply-adds with formulas and real passes."""

import copy
from pathlib import Path

import mmpretrain
import pytest
import torch
import yaml
from helpers.scripts import load_script
from mmengine.config import Config
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import mmcae  # noqa: F401
from mmcae.config.search_path import find_config

complexity = load_script('tools/analysis_tools/complexity.py')
build_on_meta = complexity.build_on_meta
measure_complexity = complexity.measure_complexity
BASE = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'
LARGE = 'cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k'
SMALL = 'cae_beit-small-p16_8xb256-amp-coslr-300e_in1k'
FINETUNE = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'
TINY = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
DVAE = 'dvae_f8-k64_1xb32-13e_digits-32px'


def config_of(name):
    return Config.fromfile(find_config(name))


def blocks(tokens, width, depth):
    """Compute the multiply-adds of transformer blocks with MLP ratio 4."""
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def patches(width):
    return 196 * 3 * 16 * 16 * width


@pytest.mark.parametrize(
    ('name', 'width', 'depth', 'giga'),
    [(SMALL, 384, 12, 4.60), (BASE, 768, 12, 17.56), (LARGE, 1024, 24, 61.55)],
)
def test_measure__pretraining_equals_the_sum_of_formulas(
    name, width, depth, giga
):
    whole = blocks(197, width, depth) + patches(width)
    assert whole / 1e9 == pytest.approx(giga, abs=0.005)
    found = {
        part.name.partition(',')[0]: part.flops
        for part in measure_complexity(config_of(name)).parts
    }
    seen = blocks(99, width, depth) + patches(width)
    # 98 tokens have queries and all other layers, 196 keys and values.
    square = 98 * (2 + 8) * width**2 + 2 * 196 * width**2
    regressor = 4 * (square + 2 * 98 * 196 * width)
    assert found['encoder'] == seen
    assert found['target pass'] == seen - patches(
        width
    )  # patches are embedded once
    assert found['regressor'] == regressor
    assert found['decoder'] == blocks(98, width, 4)
    assert found['head'] == 98 * width * 8192


def test_measure__pretraining_equals_a_real_step_without_tokenizer():
    cfg = config_of(TINY)
    listed = measure_complexity(cfg)
    cfg.model.target_generator.pop('init_cfg')
    model = MODELS.build(cfg.model)
    images = torch.rand(1, 3, 32, 32)
    sample = DataSample(mask=torch.arange(16).view(4, 4) % 2 == 0)
    # The counter does not know the fused attention of the CPU.
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model.loss([images, images], [sample])
    total = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        model.target_generator.tokenize(images, mask=sample.mask.view(1, 16))
    assert listed.flops == (total - counter.get_total_flops()) // 2
    assert listed.parts[-1].name == 'tokenizer'
    assert not listed.parts[-1].counted
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert listed.parameters == trained
    counted = sum(part.parameters for part in listed.parts[:-1])
    assert counted == trained


def test_measure__tokenizer_equals_a_real_step_without_monitoring():
    cfg = config_of(DVAE)
    listed = measure_complexity(cfg)
    model = MODELS.build(cfg.model)
    images = torch.rand(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        model.loss(images)
    total = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        model.reconstruct(torch.zeros(1, 16, dtype=torch.long))
    assert listed.flops == (total - counter.get_total_flops()) // 2
    assert listed.parameters == sum(p.numel() for p in model.parameters())


def test_measure__classifier_equals_mmpretrain_except_norms():
    listed = measure_complexity(config_of(FINETUNE))
    index = Path(mmpretrain.__file__).parent / '.mim/configs/cae/metafile.yml'
    models = yaml.safe_load(index.read_text('utf-8'))['Models']
    (theirs,) = (m['Metadata'] for m in models if m['Name'] == FINETUNE)
    assert listed.parameters == theirs['Parameters']
    assert listed.flops == pytest.approx(theirs['FLOPs'], rel=2e-3)
    assert listed.flops == blocks(197, 768, 12) + patches(768) + 768_000


def test_measure__does_not_change_the_config():
    cfg = config_of(FINETUNE)
    before = copy.deepcopy(cfg.to_dict())
    measure_complexity(cfg)
    assert cfg.to_dict() == before


def test_measure__detectors_have_parameters_only(monkeypatch):
    cfg = config_of(FINETUNE)
    model = build_on_meta(cfg)
    monkeypatch.setattr(complexity, 'build_on_meta', lambda _: model)
    cfg.default_scope = 'mmdet'
    found = measure_complexity(cfg)
    assert found.flops is None
    assert found.parameters == 86_682_280


def test_measure__detector_equals_the_sum_of_formulas():
    """A photograph of 640 x 480 gives 50 x 68 patches."""
    pytest.importorskip('mmdet.models')
    cfg = config_of('mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco')
    found = {
        part.name.partition(',')[0]: part.flops
        for part in measure_complexity(cfg).parts
    }
    grid, conv = 50 * 68, 9 * 256**2
    assert found['backbone'] == blocks(grid + 1, 768, 12) + grid * 768**2
    fully = 49 * 256 * 1024 + 1024 * (81 + 4 * 80)
    assert found['bbox_head'] == 1000 * (4 * 49 * conv + fully)
    masks = 4 * 196 * conv + 784 * 256**2 + 784 * 256 * 80
    assert found['mask_head'] == 100 * masks
