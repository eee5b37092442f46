# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Select the tensors that the converters to other libraries need."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmcae.checkpoint.weights import weights_of
from mmcae.utils import convert_if_official

# A tensor that only this kind of classifier has.
_PROBES = {
    'neck.bn.running_mean': 'a linear probe',
    'head.query_token': 'an attentive probe',
}


def model_tensors(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint under mmcae's names."""
    state = weights_of(convert_if_official(checkpoint))
    return {k.removeprefix('module.'): v for k, v in state.items()}


def encoder_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an encoder's tensors, with its final norm and nothing else.

    Args:
        state: Tensors of `CAE` under mmcae's names.

    Raises:
        ValueError: If there is no encoder with a final norm.
    """
    kept = {
        key: value
        for key, value in state.items()
        if key.startswith('backbone.') and not key.startswith('backbone.ln2.')
    }
    if 'backbone.ln1.weight' not in kept:
        raise ValueError(
            'found neither a CAE encoder with its final norm '
            '(backbone.ln1.weight) nor a classifier (head.fc.weight) among '
            f'{len(state)} tensors: {", ".join(list(state)[:3])}, ...'
        )
    return kept


def refuse_probes(
    state: Mapping[str, Tensor], library: str, *marks: str
) -> None:
    """Refuse a probe for which a library has no model.

    Args:
        state: Tensors of a classifier under mmcae's names.
        library: Name of the library.
        marks: Names of tensors that occur in such probes only.

    Raises:
        ValueError: If one of these tensors is present.
    """
    for mark in marks:
        if mark in state:
            raise ValueError(
                f'{library} has no model for {_PROBES[mark]} ({mark}); '
                'convert the checkpoint of the pretraining'
            )
