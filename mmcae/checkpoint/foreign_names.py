# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Names of an encoder's tensors in other libraries.

Each table of `SCHEMES` maps their names to ours, without the prefix of the
encoder. ``*`` matches a block's index. The tables that `mmcae export` uses in
the other direction are inverted here. Only one name is not a tensor of
`CAEViT`: ``attn.q``, ``attn.k`` and ``attn.v`` are the parts of ``attn.qkv``
where a library keeps them apart.
"""

from mmcae.checkpoint.official import ENCODER_AT_ROOT

#: Ours -> those of transformers' ``Beit``, outside and inside of a block.
TRANSFORMERS_EMBEDDINGS = {
    'cls_token': 'embeddings.cls_token',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.projection': 'embeddings.patch_embeddings.projection',
}
TRANSFORMERS_BLOCK = {
    'ln1': 'layernorm_before',
    'ln2': 'layernorm_after',
    'gamma_1': 'lambda_1',
    'gamma_2': 'lambda_2',
    'attn.proj': 'attention.output.dense',
    'ffn.layers.0.0': 'intermediate.dense',
    'ffn.layers.1': 'output.dense',
    'attn.relative_position_bias_table': 'attention.attention.'
    'relative_position_bias.relative_position_bias_table',
}
_TRANSFORMERS_PARTS = {
    'attn.q': 'attention.attention.query',
    'attn.k': 'attention.attention.key',
    'attn.v': 'attention.attention.value',
}
# What the block of ``Dinov2`` calls otherwise.
_DINOV2_BLOCK = {
    'ln1': 'norm1',
    'ln2': 'norm2',
    'gamma_1': 'layer_scale1.lambda1',
    'gamma_2': 'layer_scale2.lambda1',
    'ffn.layers.0.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.fc2',
}
# transformers 5 names its modules so; the files that it writes keep the names
# above, but ``torch.save(model.state_dict())`` does not.
_TRANSFORMERS_5_BLOCK = {
    'attn.q': 'attention.q_proj',
    'attn.k': 'attention.k_proj',
    'attn.v': 'attention.v_proj',
    'attn.proj': 'attention.o_proj',
    'ffn.layers.0.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.fc2',
    'attn.relative_position_bias_table': 'relative_position_bias.'
    'relative_position_bias_table',
}
_SHARED_TABLE = 'rel_pos_bias.relative_position_bias_table'


def _blocks(stem: str, names: dict[str, str]) -> dict[str, str]:
    """Invert the names inside of a block, and put its path before them."""
    return {
        f'{stem}.*.{theirs}': f'layers.*.{ours}'
        for ours, theirs in names.items()
    }


_AT_ROOT = {
    theirs: ours.removeprefix('backbone.')
    for theirs, ours in ENCODER_AT_ROOT.items()
}
_OURS = {ours: ours for ours in _AT_ROOT.values()}
_EMBEDDED = {
    **{theirs: ours for ours, theirs in TRANSFORMERS_EMBEDDINGS.items()},
    'layernorm': 'ln1',
    'pooler.layernorm': 'ln2',
    'encoder.relative_position_bias.relative_position_bias_table': (
        _SHARED_TABLE
    ),
    'relative_position_bias.relative_position_bias_table': _SHARED_TABLE,
}

#: Their names -> ours, for each scheme of names. The first match counts.
SCHEMES: dict[str, dict[str, str]] = {
    'mmpretrain': {
        'layers.*.attn.gamma1.weight': 'layers.*.gamma_1',
        'layers.*.ffn.gamma2.weight': 'layers.*.gamma_2',
        **_OURS,
        'ln2': 'ln2',
        'rel_pos_bias': 'rel_pos_bias',
    },
    'timm': {
        **_AT_ROOT,
        'fc_norm': 'ln2',
        'rel_pos_bias': 'rel_pos_bias',
        'blocks.*.ls1.gamma': 'layers.*.gamma_1',
        'blocks.*.ls2.gamma': 'layers.*.gamma_2',
    },
    'transformers': {
        **_EMBEDDED,
        **_blocks('encoder.layer', TRANSFORMERS_BLOCK | _TRANSFORMERS_PARTS),
        **_blocks('layers', TRANSFORMERS_BLOCK | _TRANSFORMERS_5_BLOCK),
    },
    'transformers Dinov2': {
        **_EMBEDDED,
        **_blocks(
            'encoder.layer',
            TRANSFORMERS_BLOCK | _DINOV2_BLOCK | _TRANSFORMERS_PARTS,
        ),
        **_blocks(
            'encoder.layer',
            _DINOV2_BLOCK | _TRANSFORMERS_5_BLOCK,
        ),
    },
}
