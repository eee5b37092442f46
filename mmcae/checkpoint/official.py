# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Rename tensors between the authors' two repositories and OpenMMLab.

``lxtGH/CAE`` (the first release) and ``Atten4Vis/CAE`` (its refactoring)
name the same tensors differently. One table for each kind of checkpoint
(pretraining, fine-tuning, linear and attentive probing) serves both
directions.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from mmcae.checkpoint.printable import printable_names
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
# ``*`` matches a block index.
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
#: Models on a whole image have the encoder at their root. timm and most
#: repositories of vision transformers use these names, too.
ENCODER_AT_ROOT = {
    key.removeprefix('encoder.'): value
    for key, value in _PREFIXES.items()
    if key.startswith('encoder.')
}
_FINETUNED = {
    **{k: v for k, v in ENCODER_AT_ROOT.items() if k != 'norm'},
    'fc_norm': 'backbone.ln2',
    'head': 'head.fc',
}
_LINEAR = {**ENCODER_AT_ROOT, 'head.0': 'neck.bn', 'head.1': 'head.fc'}
_ATTENTIVE_BLOCK = {
    'norm1_q': 'norm_q',
    'norm1_k': 'norm_k',
    'norm1_v': 'norm_v',
    'cross_attn': 'cross_attn',
}
_ATTENTIVE = {
    **ENCODER_AT_ROOT,
    'query_token': 'head.query_token',
    **{
        f'attentive_blocks.0.{k}': f'head.{v}'
        for k, v in _ATTENTIVE_BLOCK.items()
    },
    'fc_norm': 'head.bn',
    'head': 'head.fc',
}
# In the authors' segmentor, the feature pyramid is a part of the encoder.
_SEGMENTOR = {
    **{f'backbone.{k}': v for k, v in ENCODER_AT_ROOT.items() if k != 'norm'},
    'backbone.fpn1': 'neck.upsample_4x',
    'backbone.fpn2': 'neck.upsample_2x',
    'decode_head': 'decode_head',
    'auxiliary_head': 'auxiliary_head',
}
# Prefixes of the refactored repository -> prefixes of the first release.
_REFACTORED = {
    'regresser.regressor_blocks.': 'pretext_neck.regressor_blocks.',
    'regresser.norm.': 'pretext_neck.norm.',
    'regresser.mask_token': 'mask_token',
    'decoder.decoder_blocks.': 'pretext_neck.decoder_blocks.',
    'decoder.norm.': 'pretext_neck.norm2.',
    'decoder.head.': 'pretext_neck.head.',
    'encoder_to_regresser.': 'encoder_to_decoder.',
    'encoder_to_regresser_norm.': 'encoder_to_decoder_norm.',
}
# Copies of the encoder and of the position table, which the model creates
# itself.
_DROPPED_FROM_OFFICIAL = (
    'teacher.',
    'alignment_encoder.',
    'rd_pos_embed',
    # The authors' attentive probe creates it and never uses it.
    'attentive_blocks.0.norm2_cross.',
)
_DROPPED_FROM_OURS = ('teacher.', 'target_generator.', 'data_preprocessor.')
_PRETRAINING_KEY = 'encoder.patch_embed.proj.weight'
# Only the authors' encoders have all of these keys: MAE has no q_bias, and
# BEiT has no pos_embed.
_ENCODER_KEYS = frozenset(
    ['pos_embed', 'patch_embed.proj.weight', 'blocks.0.attn.q_bias']
)
_SEGMENTOR_KEYS = frozenset(f'backbone.{key}' for key in _ENCODER_KEYS)


class Evaluation(NamedTuple):
    """The checkpoints of one evaluation.

    Attributes:
        model: The model in words.
        their_key: A key that only such a checkpoint of the authors has.
        our_key: A key that only such a checkpoint of ours has.
        table: The authors' names -> our names.
    """

    model: str
    their_key: str
    our_key: str
    table: dict[str, str]


#: In the order in which the keys have to be looked up: attentive and linear
#: probes have ``head.fc.weight``, too.
EVALUATIONS = (
    Evaluation(
        'segmentation model',
        'decode_head.conv_seg.weight',
        'decode_head.conv_seg.weight',
        _SEGMENTOR,
    ),
    Evaluation(
        'attentive probe', 'query_token', 'head.query_token', _ATTENTIVE
    ),
    Evaluation(
        'linear probe', 'head.1.weight', 'neck.bn.running_mean', _LINEAR
    ),
    Evaluation(
        'fine-tuned classifier', 'fc_norm.weight', 'head.fc.weight', _FINETUNED
    ),
)


def name_rules(table: Mapping[str, str]) -> list[tuple[re.Pattern, str]]:
    """Make regular expressions and templates of a table of names."""
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


def new_name(key: str, rules: Sequence[tuple[re.Pattern, str]]) -> str | None:
    """The name of a tensor by the first rule that fits; None if none does.

    Args:
        key: Its name in the file.
        rules: What `name_rules` makes of a table.
    """
    for pattern, target in rules:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(target)
    return None


def _rename(
    state_dict: Mapping[str, Tensor], table: Mapping[str, str]
) -> dict[str, Tensor]:
    """Rename all keys by a table; a key that it does not cover is an error."""
    rules = name_rules(table)
    renamed: dict[str, Tensor] = {}
    foreign = []
    for key, value in state_dict.items():
        name = new_name(key, rules)
        if name is None:
            foreign.append(key)
        else:
            renamed[name] = value
    if foreign or not renamed:
        shown = printable_names(foreign, 5) or '(no keys at all)'
        raise ValueError(
            'this is not a CAE checkpoint with the expected names; '
            f'{len(foreign)} unknown of {len(state_dict)} keys: {shown}'
        )
    return renamed


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in table.items()}


def _without(
    state_dict: Mapping[str, Tensor], prefixes: tuple[str, ...]
) -> Iterator[tuple[str, Tensor]]:
    for key, value in state_dict.items():
        key = key.removeprefix('module.')
        if not key.startswith(prefixes):
            yield key, value


def is_official(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has the authors' tensor names.

    It may come from pretraining or from one of the evaluations: fine-tuning,
    linear or attentive probing, segmentation.
    """
    keys = {
        str(key).removeprefix('module.') for key in state_dict_of(checkpoint)
    }
    return _PRETRAINING_KEY in keys or (
        (keys >= _ENCODER_KEYS or keys >= _SEGMENTOR_KEYS)
        and any(kind.their_key in keys for kind in EVALUATIONS)
    )


def from_official(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename an authors' checkpoint to OpenMMLab's names.

    Args:
        checkpoint: A state dict, or a checkpoint with one under ``model``,
            from either of the authors' repositories. It may be of
            pretraining (the whole model, or the encoder with or without the
            mask token), of fine-tuning, of linear or attentive probing, or
            of segmentation. Copies of the encoder (``teacher.*``,
            ``alignment_encoder.*``) are dropped.

    Returns:
        A state dict for `CAE`, or for the ``ImageClassifier`` or
        ``EncoderDecoder`` in the config of that evaluation.

    Raises:
        ValueError: If there are other keys; the message names them.
    """
    state_dict = {}
    for key, value in _without(weights_of(checkpoint), _DROPPED_FROM_OFFICIAL):
        for old, new in _REFACTORED.items():
            if key.startswith(old):
                key = new + key[len(old) :]
                break
        state_dict[key] = value
    if state_dict.keys() >= _ENCODER_KEYS or (
        state_dict.keys() >= _SEGMENTOR_KEYS
    ):
        for kind in EVALUATIONS:
            if kind.their_key in state_dict:
                return _rename(state_dict, kind.table)
    return _rename(state_dict, _PREFIXES)


def to_official(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename a state dict to the names of the authors' first release.

    Args:
        checkpoint: A state dict, or a checkpoint with one, of `CAE` or of a
            model of one of the evaluations (fine-tuning, linear or attentive
            probing, segmentation). Teacher and tokenizer are dropped, as in
            the authors' files.

    Returns:
        A state dict for ``lxtGH/CAE``.

    Raises:
        ValueError: If there are other keys; the message names them.
    """
    state_dict = dict(_without(weights_of(checkpoint), _DROPPED_FROM_OURS))
    for kind in EVALUATIONS:
        if kind.our_key in state_dict:
            return _rename(state_dict, _inverse(kind.table))
    # Old files of OpenMMLab have an unused norm that the authors do not have.
    for key in ('backbone.ln2.weight', 'backbone.ln2.bias'):
        state_dict.pop(key, None)
    return _rename(state_dict, _inverse(_PREFIXES))


def convert_if_official(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Convert an authors' file on the fly; return others unchanged."""
    if not is_official(checkpoint):
        return checkpoint
    # The inferencer of a segmentor needs the names and colors of the classes.
    meta = meta_of(checkpoint)
    known = {k: meta[k] for k in ('CLASSES', 'PALETTE') if k in meta}
    return dict(state_dict=from_official(checkpoint), meta=known)
