# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Checkpoints as a run writes them: weights, config and classes."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from helpers.classifiers import EVALUATIONS, classifier_config
from helpers.recordings import TINY, cae_config

#: What `write_checkpoint` can write.
KINDS = ('pretrain', *EVALUATIONS)
CLASSES = [f'kind {i}' for i in range(7)]


def tiny_model(kind: str, **backbone) -> nn.Module:
    """Build one of `KINDS` with weights that leave no tensor unimportant."""
    if kind == 'pretrain':
        config = cae_config(TINY)
        config['backbone'].update(backbone)
    else:
        config = classifier_config(kind, TINY, **backbone)
    config['data_preprocessor'] = dict(
        type='mmpretrain.ClsDataPreprocessor',
        mean=[76.5] * 3,
        std=[89.25] * 3,
        to_rgb=True,
    )
    torch.manual_seed(0)
    model = MODELS.build(config)
    for name, parameter in model.named_parameters():
        if not name.endswith('pos_embed'):
            nn.init.normal_(parameter, std=0.2)
    for name, buffer in model.named_buffers():
        if name.endswith('running_mean'):
            buffer.normal_()
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 2)
    model.config = config
    return model.eval()


def write_checkpoint(
    kind: str, folder: Path, **backbone
) -> tuple[Path, nn.Module]:
    """Write a checkpoint as a run does; return it with its model."""
    model = tiny_model(kind, **backbone)
    meta = dict(
        epoch=3,
        iter=99,
        cfg=Config(dict(model=model.config)).pretty_text,
        dataset_meta=dict(classes=() if kind == 'pretrain' else CLASSES),
        experiment_name=f'tiny_{kind}_20261128_081500',
    )
    path = folder / f'{kind}.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path, model


@torch.no_grad()
def outputs_of(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of a classifier; the normalized tokens of a pretrained CAE."""
    if hasattr(model.head, 'num_classes'):
        return model(images)
    return model.extract_feat(images)[-1]
