# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The metadata of a written file: what it holds and where it comes from."""

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.normalization import recorded_normalization
from mmcae.checkpoint.official import EVALUATIONS
from mmcae.checkpoint.weights import meta_of
from mmcae.version import __version__

# Increase it when a key of the header changes its meaning.
HEADER_VERSION = '1'
# The first of these keys found decides the kind of model.
_KINDS = (
    ('neck.regressors.0.gamma_1_cross', 'pretraining model'),
    ('neck.regressors.0.norm1_q_cross.weight', 'pretraining model'),
    *((kind.our_key, kind.model) for kind in EVALUATIONS),
)


def file_header(
    state: Mapping[str, Tensor],
    source: str | os.PathLike,
    digest: str,
    checkpoint: Mapping[str, Any],
    names: str = 'mmcae',
    num_heads: int | None = None,
) -> dict[str, Any]:
    """Make the metadata of a file that is converted from another one.

    Args:
        state: The tensors, with mmcae's names.
        source: The file that the tensors were read from.
        digest: The SHA-256 of that file.
        checkpoint: The content of that file.
        names: The naming scheme of the tensors in the new file.
        num_heads: Number of heads, used if no tensor depends on it.

    Returns:
        Metadata for `write_weights`. It has ``arch`` if the tensors determine
        it, and ``epoch`` (the number of finished epochs) and
        ``normalization`` (for RGB values in 0..1) if the source has them.
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
        pass  # the tensors are complete without it
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
    """Describe in words the model that has these tensors."""
    for key, kind in _KINDS:
        if key in state:
            return kind
    others = [k for k in state if not k.startswith(('backbone.', 'neck.'))]
    return 'encoder' if not others else 'model with a CAE encoder'


def finished_epochs(checkpoint: Mapping[str, Any]) -> int | None:
    """Return the number of finished epochs; None if the file does not say."""
    epoch = meta_of(checkpoint).get('epoch')
    if isinstance(epoch, int):
        return epoch
    epoch = checkpoint.get('epoch')
    # The authors save the index of the last epoch, counted from 0.
    return epoch + 1 if isinstance(epoch, int) else None
