# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Bring the tensors of an encoder of any library into our form."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mmcae.checkpoint.errors import StartError
from mmcae.checkpoint.foreign_names import SCHEMES
from mmcae.checkpoint.official import name_rules, new_name
from mmcae.checkpoint.printable import printable, printable_names
from mmcae.checkpoint.start_table import ESSENTIAL, TREATMENTS, UNUSED


def renamed(
    own: Mapping[str, Tensor], scheme: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename by a scheme; return names that it does not know, too."""
    rules = name_rules(SCHEMES[scheme])
    state: dict[str, Tensor] = {}
    unknown = []
    for key, value in own.items():
        name = None if UNUSED.search(key) else new_name(key, rules)
        if name is None:
            unknown.append(key)
        else:
            state[name] = value
    return state, unknown


def refuse_unknown(location: str, unknown: list[str]) -> None:
    """Raise `StartError` if tensors of the blocks have no name of ours."""
    essential = [
        key
        for key in unknown
        if key.startswith(ESSENTIAL) and not UNUSED.search(key)
    ]
    if essential:
        raise StartError(
            f'{printable(location, 1000)} cannot start a CAE: its encoder '
            f'has {len(essential)} tensors that a plain vision transformer '
            f'does not have ({printable_names(essential, 3)})'
        )


def normal_form(
    state: dict[str, Tensor], location: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Give all encoders the same tensors; return notes about it, too."""
    state, notes = dict(state), []
    blocks = sorted(
        {m[1] for key in state if (m := re.match(r'(layers\.\d+\.)', key))}
    )
    for block in blocks:
        for key in _unify_attention(state, f'{block}attn.'):
            if (note := TREATMENTS[key].note) not in notes:
                notes.append(note)
    if 'ln1.weight' not in state and 'ln2.weight' in state:
        for leaf in ('weight', 'bias'):
            state[f'ln1.{leaf}'] = state.pop(f'ln2.{leaf}')
        notes.append(TREATMENTS['pooled_norm'].note)
    # OpenMMLab's pretraining files have a second norm that was not trained.
    state = {k: v for k, v in state.items() if not k.startswith('ln2.')}
    table = state.get('pos_embed')
    if table is not None and table.ndim == 3:
        patches = table.shape[1] - 1
        if _is_square(patches + 1) and not _is_square(patches):
            zero = table.new_zeros(1, 1, table.shape[2])
            state['pos_embed'] = torch.cat([zero, table], dim=1)
            notes.append(TREATMENTS['no_class_position'].note)
    return state, notes


def _is_square(number: int) -> bool:
    return round(number**0.5) ** 2 == number


def _unify_attention(state: dict[str, Tensor], attn: str) -> list[str]:
    """Stack the projections of a block, and keep two biases.

    Returns:
        Keys of `TREATMENTS`.
    """
    done = []
    parts = [state.pop(f'{attn}{part}.weight', None) for part in 'qkv']
    if all(part is not None for part in parts):
        state[f'{attn}qkv.weight'] = torch.cat(parts)  # type: ignore[arg-type]
    query, key, value = (state.pop(f'{attn}{p}.bias', None) for p in 'qkv')
    whole = state.pop(f'{attn}qkv.bias', None)
    if whole is not None:
        query, key, value = whole.chunk(3)
    if key is not None:
        done.append('key_bias')
    if f'{attn}q_bias' not in state and f'{attn}qkv.weight' in state:
        zeros = state[f'{attn}qkv.weight'].new_zeros(
            state[f'{attn}qkv.weight'].shape[1]
        )
        if query is None and value is None:
            done.append('no_bias')
        state[f'{attn}q_bias'] = zeros if query is None else query
        state[f'{attn}v_bias'] = zeros if value is None else value
    return done
