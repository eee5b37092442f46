# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Features of whole images from a pretrained encoder."""

from collections.abc import Callable, Iterable

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmcae.apis.evaluating import evaluating
from mmcae.apis.patch_features import encode_tokens

POOLS = ('mean', 'cls', 'both')


def pool_tokens(tokens: Tensor, pool: str = 'mean') -> Tensor:
    """Pool a sequence that begins with the class token.

    Args:
        tokens: ``(B, 1 + L, D)``.
        pool: ``'mean'`` of the patch tokens, the class token (``'cls'``), or
            ``'both'``, concatenated. No loss of CAE is applied to the class
            token, so after a short pretraining the mean is better.

    Returns:
        ``(B, D)``, or ``(B, 2 D)`` for ``'both'``.

    Raises:
        ValueError: If ``pool`` is not one of these.
    """
    if pool not in POOLS:
        raise ValueError(f'pool must be one of {POOLS}, got {pool!r}')
    parts = {'mean': tokens[:, 1:].mean(dim=1), 'cls': tokens[:, 0]}
    if pool == 'both':
        return torch.cat([parts['cls'], parts['mean']], dim=1)
    return parts[pool]


@torch.no_grad()
def extract_features(
    model: BaseModel,
    batches: Iterable[dict],
    pool: str = 'mean',
    on_tokens: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Encode batches of a data loader with a CAE model.

    Args:
        model: A model whose ``extract_feat`` gives ``(B, 1 + L, D)``, such
            as `CAE`, or pooled features ``(B, D)``. It is in evaluation
            mode during the call.
        batches: Batches of a data loader: dicts with ``inputs``.
        pool: See `pool_tokens`.
        on_tokens: Called with the tokens of each batch, ``(B, 1 + L, D)``,
            normalized as in `encode_tokens`.

    Returns:
        Features in the order of the batches, float32 on the CPU, ``(N, D)``.
    """
    features = []
    with evaluating(model):
        for batch in batches:
            inputs = model.data_preprocessor(batch, training=False)['inputs']
            tokens = model.extract_feat(inputs)[-1]
            if on_tokens is not None:
                is_pooled = tokens.ndim != 3
                on_tokens(
                    encode_tokens(model.backbone, inputs)
                    if is_pooled
                    else tokens
                )
            if tokens.ndim == 3:
                tokens = pool_tokens(tokens, pool)
            features.append(tokens.float().cpu())
    return torch.cat(features)
