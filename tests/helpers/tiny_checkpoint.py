# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Checkpoints of a CAE and its tokenizer, as a training run writes them."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmcae.models  # noqa: F401
from mmcae.checkpoint.digest import weights_digest
from mmcae.config.search_path import find_config
from mmcae.registry import MODELS

CONFIG = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
#: Where the config says that the tokenizer is.
TOKENIZER = 'work_dirs/dvae_f8-k64_1xb32-13e_digits-32px/epoch_13.pth'


def tiny_config() -> Config:
    """The packaged config of the digits: 32 px, 4 x 4 patches, width 64."""
    return Config.fromfile(find_config(CONFIG))


def write_checkpoints(root: Path, seed: int = 0) -> Path:
    """Write a checkpoint with random weights, and its tokenizer's.

    Args:
        root: The folder in which the runs' ``work_dirs`` would lie.
        seed: Seed of the weights.

    Returns:
        The checkpoint of the CAE.
    """
    torch.manual_seed(seed)
    config = tiny_config()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            {k: v for k, v in config.model.items() if k != 'init_cfg'}
        )
    model.target_generator.init_cfg = None
    model.init_weights()
    for parameter in model.parameters():  # no layer may be the identity
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    tokenizer = root / TOKENIZER
    tokenizer.parent.mkdir(parents=True)
    torch.save(model.target_generator.state_dict(), tokenizer)
    path = root / 'work_dirs' / CONFIG / 'epoch_80.pth'
    path.parent.mkdir(parents=True)
    record = dict(weights=weights_digest(model.target_generator))
    meta = dict(cfg=config.pretty_text, epoch=80, tokenizer=record)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path
