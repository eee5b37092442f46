# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Names of tensors: the authors' two repositories and OpenMMLab's.

``lxtGH/CAE`` (the first release) and ``Atten4Vis/CAE`` (its refactoring)
name the same tensors differently. One table for each kind of checkpoint
(pretraining, fine-tuning, linear and attentive probing) serves both
directions.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.weights import meta_of, state_dict_of, weights_of

# Inside a block of the encoder or the decoder: authors' -> ours.
_BLOCK = {
    'norm1': 'ln1',
    'norm2': 'ln2',
    'attn': 'attn',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
    'gamma_1': 'gamma_1',
    'gamma_2': 'gamma_2',
}
_REGRESSOR_BLOCK = {
    'norm1_q': 'norm1_q_cross',
    'norm1_k': 'norm1_k_cross',
    'norm1_v': 'norm1_v_cross',
    'norm2_cross': 'norm2_cross',
    'cross_attn': 'cross_attn',
    'mlp_cross.fc1': 'ffn.layers.0.0',
    'mlp_cross.fc2': 'ffn.layers.1',
    'gamma_1_cross': 'gamma_1_cross',
    'gamma_2_cross': 'gamma_2_cross',
}
_ENCODER = {
    'cls_token': 'cls_token',
    'pos_embed': 'pos_embed',
    'patch_embed.proj': 'patch_embed.projection',
    'norm': 'ln1',
}
# Module by module; ``*`` matches the number of a block.
_PREFIXES = {
    **{f'encoder.{k}': f'backbone.{v}' for k, v in _ENCODER.items()},
    **{
        f'encoder.blocks.*.{k}': f'backbone.layers.*.{v}'
        for k, v in _BLOCK.items()
    },
    **{
        f'pretext_neck.regressor_blocks.*.{k}': f'neck.regressors.*.{v}'
        for k, v in _REGRESSOR_BLOCK.items()
    },
    **{
        f'pretext_neck.decoder_blocks.*.{k}': f'neck.decoders.*.{v}'
        for k, v in _BLOCK.items()
    },
    'pretext_neck.norm': 'neck.norm_regressor',
    'pretext_neck.norm2': 'neck.norm_decoder',
    'pretext_neck.head': 'neck.head',
    'mask_token': 'neck.mask_token',
    'encoder_to_decoder': 'neck.projection',
    'encoder_to_decoder_norm': 'neck.projection_norm',
}
# Models on a whole image have the encoder at their root.
_ROOT = {
    key.removeprefix('encoder.'): value
    for key, value in _PREFIXES.items()
    if key.startswith('encoder.')
}
_FINETUNED = {
    **{k: v for k, v in _ROOT.items() if k != 'norm'},
    'fc_norm': 'backbone.ln2',
    'head': 'head.fc',
}
_LINEAR = {**_ROOT, 'head.0': 'neck.bn', 'head.1': 'head.fc'}
_ATTENTIVE_BLOCK = {
    'norm1_q': 'norm_q',
    'norm1_k': 'norm_k',
    'norm1_v': 'norm_v',
    'cross_attn': 'cross_attn',
}
_ATTENTIVE = {
    **_ROOT,
    'query_token': 'head.query_token',
    **{
        f'attentive_blocks.0.{k}': f'head.{v}'
        for k, v in _ATTENTIVE_BLOCK.items()
    },
    'fc_norm': 'head.bn',
    'head': 'head.fc',
}
# A segmentor: its pyramid belongs to the authors' encoder.
_SEGMENTOR = {
    **{f'backbone.{k}': v for k, v in _ROOT.items() if k != 'norm'},
    'backbone.fpn1': 'neck.upsample_4x',
    'backbone.fpn2': 'neck.upsample_2x',
    'decode_head': 'decode_head',
    'auxiliary_head': 'auxiliary_head',
}
# The refactored repository -> the first one.
_SIBLING = {
    'regresser.regressor_blocks.': 'pretext_neck.regressor_blocks.',
    'regresser.norm.': 'pretext_neck.norm.',
    'regresser.mask_token': 'mask_token',
    'decoder.decoder_blocks.': 'pretext_neck.decoder_blocks.',
    'decoder.norm.': 'pretext_neck.norm2.',
    'decoder.head.': 'pretext_neck.head.',
    'encoder_to_regresser.': 'encoder_to_decoder.',
    'encoder_to_regresser_norm.': 'encoder_to_decoder_norm.',
}
# Copies of the encoder and of the position table, made anew by the model.
_DROPPED_FROM_OFFICIAL = (
    'teacher.',
    'alignment_encoder.',
    'rd_pos_embed',
    # Created by the authors' attentive probe and never used.
    'attentive_blocks.0.norm2_cross.',
)
_DROPPED_FROM_OURS = ('teacher.', 'target_generator.', 'data_preprocessor.')
_MARK = 'encoder.patch_embed.proj.weight'
# Together only in the authors' encoders: MAE has no q_bias, BEiT no pos_embed.
_ROOT_MARKS = frozenset(
    ['pos_embed', 'patch_embed.proj.weight', 'blocks.0.attn.q_bias']
)
_SEGMENTOR_MARKS = frozenset(f'backbone.{key}' for key in _ROOT_MARKS)


def _compile(table: Mapping[str, str]) -> list[tuple[re.Pattern, str]]:
    rules = []
    for source, target in table.items():
        pattern = re.escape(source).replace(r'\*', r'(?P<i>\d+)')
        rules.append(
            (
                re.compile(rf'{pattern}(?P<leaf>\..*)?'),
                target.replace('*', r'\g<i>') + r'\g<leaf>',
            )
        )
    return rules


# By kind of checkpoint: the tensor that only this kind has, under the authors'
# names and ours, and the rules of both directions. The first that fits counts.
_KINDS = [
    (theirs, ours, _compile(table), _compile({v: k for k, v in table.items()}))
    for theirs, ours, table in (
        (
            'decode_head.conv_seg.weight',
            'decode_head.conv_seg.weight',
            _SEGMENTOR,
        ),
        ('query_token', 'head.query_token', _ATTENTIVE),
        ('head.1.weight', 'neck.bn.running_mean', _LINEAR),
        ('fc_norm.weight', 'head.fc.weight', _FINETUNED),
    )
]
_FROM_PRETRAINING = _compile(_PREFIXES)
_TO_PRETRAINING = _compile({v: k for k, v in _PREFIXES.items()})


def _rename(
    state_dict: Mapping[str, Tensor], rules: list[tuple[re.Pattern, str]]
) -> dict[str, Tensor]:
    renamed, foreign = {}, []
    for key, value in state_dict.items():
        for pattern, target in rules:
            match = pattern.fullmatch(key)
            if match:
                renamed[match.expand(target)] = value
                break
        else:
            foreign.append(key)
    if foreign or not renamed:
        shown = ', '.join(map(printable, foreign[:5])) + (
            ', ...' if foreign[5:] else ''
        )
        raise ValueError(
            'this is not a CAE checkpoint with the expected names; '
            f'{len(foreign)} unknown of {len(state_dict)} keys: '
            f'{shown or "(no keys at all)"}'
        )
    return renamed


def _without(
    state_dict: Mapping[str, Tensor], prefixes: tuple[str, ...]
) -> Iterator[tuple[str, Tensor]]:
    for key, value in state_dict.items():
        key = key.removeprefix('module.')
        if not key.startswith(prefixes):
            yield key, value


def is_official(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint carries the authors' names.

    Either of their pretraining, or of one of their evaluations: fine-tuning,
    linear or attentive probing, segmentation.
    """
    keys = {
        str(key).removeprefix('module.') for key in state_dict_of(checkpoint)
    }
    return _MARK in keys or (
        (keys >= _ROOT_MARKS or keys >= _SEGMENTOR_MARKS)
        and any(kind[0] in keys for kind in _KINDS)
    )


def from_official(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename an authors' checkpoint to OpenMMLab's names.

    Args:
        checkpoint: A state dict, or a checkpoint with one under ``model``,
            from either of the authors' repositories: of pretraining, whole
            or with the encoder (and mask token) only, or of fine-tuning,
            linear or attentive probing. Copies of the encoder
            (``teacher.*``, ``alignment_encoder.*``) are dropped.

    Returns:
        A state dict for `CAE`, or for the ``ImageClassifier`` or
        ``EncoderDecoder`` of the config of that evaluation.

    Raises:
        ValueError: If keys are not the authors'; the message names them.
    """
    state_dict = {}
    for key, value in _without(weights_of(checkpoint), _DROPPED_FROM_OFFICIAL):
        for old, new in _SIBLING.items():
            if key.startswith(old):
                key = new + key[len(old) :]
                break
        state_dict[key] = value
    if state_dict.keys() >= _ROOT_MARKS or (
        state_dict.keys() >= _SEGMENTOR_MARKS
    ):
        for mark, _, rules, _ in _KINDS:
            if mark in state_dict:
                return _rename(state_dict, rules)
    return _rename(state_dict, _FROM_PRETRAINING)


def to_official(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename a state dict to the names of the authors' first release.

    Args:
        checkpoint: A state dict, or a checkpoint with one, of `CAE` or of a
            model of one of the evaluations (fine-tuning, linear or attentive
            probing, segmentation). Teacher and tokenizer are dropped, as the
            authors do.

    Returns:
        A state dict for ``lxtGH/CAE``.

    Raises:
        ValueError: If keys are not mmcae's; the message names them.
    """
    state_dict = dict(_without(weights_of(checkpoint), _DROPPED_FROM_OURS))
    for _, mark, _, rules in _KINDS:
        if mark in state_dict:
            return _rename(state_dict, rules)
    # Pooled norms of old OpenMMLab files: never used, unknown to authors.
    for key in ('backbone.ln2.weight', 'backbone.ln2.bias'):
        state_dict.pop(key, None)
    return _rename(state_dict, _TO_PRETRAINING)


def convert_if_official(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Convert an authors' file on the fly; return others unchanged."""
    if not is_official(checkpoint):
        return checkpoint
    # Of a segmentor: names and colours of the classes, for its inferencer.
    meta = meta_of(checkpoint)
    known = {k: meta[k] for k in ('CLASSES', 'PALETTE') if k in meta}
    return dict(state_dict=from_official(checkpoint), meta=known)
