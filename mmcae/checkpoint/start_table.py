# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What can start a pretraining, and how each difference is treated.

`FAMILIES` lists the encoders, `TREATMENTS` the differences that are mended,
and `REFUSALS` those that CAE's encoder cannot express. docs/weights.md has
the same tables; a test compares them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Family(NamedTuple):
    """Encoders that have the same names and the same differences.

    Attributes:
        name: The class or the program, in words.
        examples: What such files hold, for the documentation.
        scheme: A key of `SCHEMES`.
        patch: The name of the patch embedding, which tells the prefix of
            the encoder's names.
        mark: A pattern of a name that this family has, and that families
            further down in the list do not have; None for any.
        eps: Epsilon of its norms, where no config says another.
        treatments: Keys of `TREATMENTS` that concern it.
    """

    name: str
    examples: str
    scheme: str
    patch: str
    mark: str | None
    eps: float
    treatments: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it is a CAE with regressor and decoder."""
        return 'head' in self.treatments


class Treatment(NamedTuple):
    """A difference that is mended.

    Attributes:
        difference: What the file has, for the documentation.
        treatment: What is done, for the documentation.
        exact: Whether the features stay equal.
        note: The sentence of the report.
    """

    difference: str
    treatment: str
    exact: bool
    note: str


class Refusal(NamedTuple):
    """A difference that cannot be mended.

    Attributes:
        pattern: Of a tensor's name, without the encoder's prefix.
        what: What the file has, for messages and the documentation.
    """

    pattern: str
    what: str


_COMMON = ('grid', 'patch', 'channels', 'eps', 'heads', 'other')
_VIT = ('key_bias', 'no_bias', 'no_scale', 'positions', *_COMMON)
_BEIT = ('no_positions', 'pooled_norm', 'no_scale', *_COMMON)

#: The first family that fits is taken.
FAMILIES = (
    Family(
        'CAE of mmcae or mmpretrain',
        'checkpoints of this project and of OpenMMLab; whole or the encoder',
        'mmpretrain',
        'patch_embed.projection.weight',
        r'neck\.regressors\.0\.',
        1e-6,
        ('head', *_COMMON),
    ),
    Family(
        "mmpretrain's BEiTViT",
        'BEiT, BEiT v2 and CAE of mmpretrain; fine-tuned models of mmcae',
        'mmpretrain',
        'patch_embed.projection.weight',
        r'layers\.0\.(gamma_1|attn\.q_bias)',
        1e-6,
        _BEIT,
    ),
    Family(
        "mmpretrain's VisionTransformer",
        'ViT, DeiT, MAE, MoCo v3, DINOv2 of mmpretrain',
        'mmpretrain',
        'patch_embed.projection.weight',
        None,
        1e-6,
        (*_VIT, 'scale_names'),
    ),
    Family(
        'CAE of the authors',
        'all their files; whole or the encoder',
        'timm',
        'patch_embed.proj.weight',
        r'(pretext_neck|regresser)\.',
        1e-6,
        ('head', *_COMMON),
    ),
    Family(
        "timm's Beit",
        'BEiT and BEiT v2 of timm and of their authors; exports of mmcae',
        'timm',
        'patch_embed.proj.weight',
        r'blocks\.0\.(gamma_1|attn\.q_bias)',
        1e-6,
        _BEIT,
    ),
    Family(
        "timm's VisionTransformer",
        'ViT, DeiT, DeiT III, DINO, DINOv2 of timm; MAE, DINO and DINOv2 of '
        'their authors',
        'timm',
        'patch_embed.proj.weight',
        None,
        1e-6,
        (*_VIT, 'no_class_position', 'scale_names', 'pooled_norm'),
    ),
    Family(
        "transformers' Dinov2",
        'DINOv2',
        'transformers Dinov2',
        'embeddings.patch_embeddings.projection.weight',
        r'layer_scale1|layer\.0\.norm1',
        1e-6,
        (*_VIT, 'scale_names', 'apart'),
    ),
    Family(
        "transformers' Beit",
        'BEiT, Data2Vec vision; exports of mmcae',
        'transformers',
        'embeddings.patch_embeddings.projection.weight',
        r'lambda_1|relative_position_bias',
        1e-12,
        (*_BEIT, 'apart'),
    ),
    Family(
        "transformers' ViTMAE",
        'MAE',
        'transformers',
        'embeddings.patch_embeddings.projection.weight',
        r'decoder\.mask_token',
        1e-12,
        (*_VIT, 'apart'),
    ),
    Family(
        "transformers' ViT",
        'ViT, DeiT without a distillation token, DINO',
        'transformers',
        'embeddings.patch_embeddings.projection.weight',
        None,
        1e-12,
        (*_VIT, 'apart'),
    ),
)

TREATMENTS = {
    'key_bias': Treatment(
        'a bias of the keys',
        'dropped: it adds the same number to all scores of a query, which '
        'the softmax cancels',
        True,
        'the biases of the keys are dropped, which changes no output',
    ),
    'no_bias': Treatment(
        'no biases of queries and values',
        'zeros',
        True,
        'it has no biases of queries and values: they are zeros',
    ),
    'apart': Treatment(
        'queries, keys and values in matrices of their own',
        'stacked',
        True,
        '',
    ),
    'no_scale': Treatment(
        'no layer scale',
        'ones',
        True,
        'it has no layer scale: the scale is one',
    ),
    'fold_scale': Treatment(
        'a layer scale, and `layer_scale_init_value=0` in the config',
        'multiplied into the layer before it',
        True,
        'its layer scale is multiplied into the layers before it',
    ),
    'scale_names': Treatment(
        'layer scales of other names (`ls1.gamma`, `layer_scale1.lambda1`, '
        '`attn.gamma1.weight`)',
        'renamed',
        True,
        '',
    ),
    'positions': Treatment(
        'learned positions, or sine-cosine positions in another order',
        'kept as they are, and not trained further',
        True,
        '',
    ),
    'no_class_position': Treatment(
        'no position of the class token',
        'zeros',
        True,
        'its class token has no position: it is zero',
    ),
    'no_positions': Treatment(
        'no absolute positions',
        'zeros',
        True,
        'it has no absolute positions: they are zeros',
    ),
    'pooled_norm': Treatment(
        'a norm of the mean of the patches in place of the final norm',
        'becomes the final norm; the tokens before it are equal',
        True,
        'its norm of the mean patch becomes the final norm',
    ),
    'no_norm': Treatment(
        'no norm after the last block',
        'the final norm is new',
        False,
        'it has no final norm: a new one is trained',
    ),
    'grid': Treatment(
        'another image size or grid',
        'positions are interpolated; equal at the size of the file',
        False,
        '',
    ),
    'patch': Treatment(
        'another patch size, if the config asks for it',
        'the patch embedding is resized by timm (FlexiViT), if the sizes of '
        'image and patch change alike; `mmcae pretrain` takes the size of '
        'the file',
        False,
        'the patch embedding is resized from {old} to {new} px',
    ),
    'channels': Treatment(
        'another number of channels',
        'the patch embedding is adapted; the report says how',
        False,
        '',
    ),
    'eps': Treatment(
        'another epsilon of the norms',
        '`mmcae pretrain` writes it into the config (`norm_cfg`); elsewhere '
        'the report says what to set',
        True,
        'its norms have eps={theirs:g}, and those of the config {ours:g}: '
        "set model.backbone.norm_cfg=dict(type='LN', eps={theirs:g}) for "
        'equal features',
    ),
    'heads': Treatment(
        'a number of heads that the tensors do not show',
        'read from `config.json` or the config of the run; else `num_heads` '
        '(`--num-heads`), or the usual number for the width, which the '
        'report says',
        True,
        'the file does not say its number of heads: {heads}, {why}',
    ),
    'head': Treatment(
        'the decoder and its head, of a whole CAE',
        'kept with their tokenizer; with another tokenizer, the last layer '
        'is new',
        True,
        '',
    ),
    'other': Treatment(
        'classifiers, poolers, decoders, mask tokens',
        'dropped',
        True,
        '',
    ),
}

REFUSALS = (
    Refusal(r'(reg_token|register_tokens|storage_tokens)$', 'register tokens'),
    Refusal(
        r'(dist_token|distillation_token)$',
        'a distillation token',
    ),
    Refusal(
        r'(norm_pre|pre_norm|pre_layrnorm|pre_layernorm)\.',
        'a norm before the first block (CLIP)',
    ),
    Refusal(
        r'(mlp|ffn)\.(w12|w1|w3|weights_in|fc1_g|fc1_x|gate_proj|up_proj)\.',
        'SwiGLU',
    ),
    Refusal(r'(q_norm|k_norm|ln_q|ln_k)\.', 'norms of queries and keys'),
    Refusal(
        r'(attn\.norm|attn\.inner_attn_ln|mlp\.norm|ffn\.ffn_ln)\.',
        'norms inside of attention or feed-forward network',
    ),
)
#: What is refused for another reason than the name of a tensor.
OTHER_REFUSALS = (
    'relative position biases, in pretraining: a subset of the patches has '
    'no table of them (`CAEViT` on whole images takes them, with '
    '`use_rel_pos_bias=True`)',
    'no class token',
    'another activation than GELU, if `config.json` says so',
    'a grid that is not square',
    'a file in several parts (`*.index.json`)',
)
#: Names that the refusal of unknown tensors concerns: the embedding and the
#: blocks. All other unknown tensors are heads.
ESSENTIAL = (
    'patch_embed.', 'embeddings.', 'pos_embed', 'blocks.', 'layers.',
    'encoder.layer.',
)  # fmt: skip
#: Of these, tensors that no output depends on.
UNUSED = re.compile(
    r'(^|\.)(mask_token|relative_position_index|position_ids|k_bias)$'
)
# Copies of an encoder, and other networks, in checkpoints of a pretraining.
_COPIES = ('teacher.', 'alignment_encoder.', 'target_generator.')


def family_of(names: Iterable[str]) -> tuple[Family, str] | None:
    """Find the family of a file by the names of its tensors.

    Args:
        names: All names.

    Returns:
        The family, and the prefix of the encoder's names; None if no family
        fits.
    """
    names = list(names)
    for family in FAMILIES:
        found = [
            name
            for name in names
            if f'.{name}'.endswith(f'.{family.patch}')
            and not name.startswith(_COPIES)
        ]
        if not found:
            continue
        if family.mark is None or any(
            re.search(family.mark, n) for n in names
        ):
            shortest = min(found, key=len)
            return family, shortest.removesuffix(family.patch)
    return None


def refused(names: Iterable[str]) -> dict[str, str]:
    """What of an encoder CAE cannot express.

    Args:
        names: Without the prefix of the encoder.

    Returns:
        What it is, and the name of its first tensor.
    """
    found: dict[str, str] = {}
    for name in names:
        for refusal in REFUSALS:
            if re.search(refusal.pattern, name):
                found.setdefault(refusal.what, name)
    return found


def markdown() -> str:
    """The tables of docs/weights.md."""
    lines = ['| starts from | such as |', '|---|---|']
    lines += [f'| {f.name} | {f.examples} |' for f in FAMILIES]
    lines += [
        '',
        '| the file has | treatment | features |',
        '|---|---|---|',
    ]
    lines += [
        f'| {t.difference} | {t.treatment} | {_EQUAL[t.exact]} |'
        for t in TREATMENTS.values()
    ]
    lines += ['', 'Refused in one sentence:', '']
    refusals = [*dict.fromkeys(r.what for r in REFUSALS), *OTHER_REFUSALS]
    return '\n'.join([*lines, *(f'- {what}' for what in refusals)])


_EQUAL: Mapping[bool, str] = {True: 'equal', False: 'differ'}
