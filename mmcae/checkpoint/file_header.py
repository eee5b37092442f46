# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a written file says about itself."""

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.normalization import recorded_normalization
from mmcae.version import __version__

# Of the keys below; raise it when one changes its meaning.
HEADER_VERSION = '1'
# The first of these names that a file has decides what it holds.
_KINDS = (
    ('neck.regressors.0.gamma_1_cross', 'pretraining model'),
    ('neck.regressors.0.norm1_q_cross.weight', 'pretraining model'),
    ('head.query_token', 'attentive probe'),
    ('neck.bn.running_mean', 'linear probe'),
    ('head.fc.weight', 'fine-tuned classifier'),
    ('decode_head.conv_seg.weight', 'segmentation model'),
)


def file_header(
    state: Mapping[str, Tensor],
    source: str | os.PathLike,
    digest: str,
    checkpoint: Mapping[str, Any],
    names: str = 'mmcae',
    num_heads: int | None = None,
) -> dict[str, Any]:
    """Say what a file holds and where it comes from.

    Args:
        state: The tensors, with mmcae's names.
        source: The file they were read from.
        digest: That file's SHA-256.
        checkpoint: That file's content.
        names: Whose names the tensors have in the file to write.
        num_heads: Number of heads, where no tensor tells it.

    Returns:
        Metadata for `write_weights`. ``arch`` is there where it follows
        from the tensors; ``epoch`` (finished ones) and ``normalization``
        (of RGB in 0..1) where the source has them.
    """
    header: dict[str, Any] = dict(
        format='pt',
        header_version=HEADER_VERSION,
        mmcae_version=__version__,
        model=kind_of(state),
        tensor_names=names,
        source=os.path.basename(source),
        source_sha256=digest,
    )
    try:
        args = encoder_args(state, num_heads)
    except ValueError:
        pass  # not a reason to refuse the file: its tensors are complete
    else:
        header['arch'] = {
            **args['arch'],
            'img_size': args['img_size'],
            'patch_size': args['patch_size'],
        }
    epoch = finished_epochs(checkpoint)
    if epoch is not None:
        header['epoch'] = epoch
    normalization = recorded_normalization(checkpoint)
    if normalization is not None:
        header['normalization'] = normalization
    return header


def kind_of(state: Mapping[str, Tensor]) -> str:
    """Say in words which model's tensors these are."""
    for mark, kind in _KINDS:
        if mark in state:
            return kind
    others = [k for k in state if not k.startswith(('backbone.', 'neck.'))]
    return 'encoder' if not others else 'model with a CAE encoder'


def finished_epochs(checkpoint: Mapping[str, Any]) -> int | None:
    """Epochs that a checkpoint has behind it; None if it does not say."""
    meta = checkpoint.get('meta')
    if isinstance(meta, Mapping) and isinstance(meta.get('epoch'), int):
        return meta['epoch']
    epoch = checkpoint.get('epoch')
    # The authors save the number of the epoch, counted from 0.
    return epoch + 1 if isinstance(epoch, int) else None
