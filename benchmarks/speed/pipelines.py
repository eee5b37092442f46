# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pipelines from an image file to a sample; each stage is one transform."""

from collections.abc import Callable
from pathlib import Path

import mmpretrain
import numpy as np
from mmengine.config import Config
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms import functional as F

from mmcae.config.search_path import resource_root
from mmcae.datasets import sample_rng
from mmcae.datasets.transforms.resize import sample_crop_box

STAGES = ('load', 'flip', 'crop', 'mask', 'pack', 'collate')
PEER = 'mmpretrain'
AUTHORS = 'PIL, as the authors'
OURS = ('pil', 'fast')
VIEWS = {
    '224 px bicubic': (224, 'bicubic'),
    '112 px Lanczos': (112, 'lanczos'),
}
NUM_MASKED = 98

Pipelines = dict[str, list[Callable]]


def build_pipelines() -> Pipelines:
    """Build all pipelines; all mask the same number of patches.

    Returns:
        By name, the transform of each stage except the last, ``'collate'``.
    """
    peer_config = Path(mmpretrain.__file__).parent / (
        '.mim/configs/cae/cae_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
    )
    our_config = (
        resource_root() / 'configs/_base_/datasets/imagenet_cae_224.py'
    )
    pipelines: Pipelines = {}
    for name in (PEER, *OURS):
        config = peer_config if name == PEER else our_config
        pipeline = Config.fromfile(config).train_pipeline
        pipeline[3]['num_masking_patches'] = NUM_MASKED
        if name != PEER:
            pipeline[0]['backend'] = pipeline[2]['backend'] = name
        pipelines[name] = [TRANSFORMS.build(step) for step in pipeline]
    make_mask = pipelines[OURS[0]][3]
    pipelines[AUTHORS] = [_load, _flip, _crop, make_mask, _normalize]
    return pipelines


def _load(results: dict) -> dict:
    with Image.open(results['img_path']) as img:
        results['img'] = img.convert('RGB')
    return results


def _flip(results: dict) -> dict:
    if sample_rng(results, 'flip').random() < 0.5:
        results['img'] = F.hflip(results['img'])
    return results


def _crop(results: dict) -> dict:
    img = results['img']
    rng = sample_rng(results, 'crop')
    top, left, height, width = sample_crop_box(rng, img.height, img.width)
    part = img.crop((left, top, left + width, top + height))
    results['img'] = [
        part.resize((side, side), Image.Resampling[kernel.upper()])
        for side, kernel in VIEWS.values()
    ]
    return results


def _normalize(results: dict) -> dict:
    """Scale the views as the encoder and the tokenizer expect them."""
    first, second = (F.to_tensor(view) for view in results['img'])
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    views = [F.normalize(first, mean, std), 0.8 * second + 0.1]
    return dict(inputs=views, mask=np.asarray(results['mask']))
