# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert an encoder or a fine-tuned classifier to timm's ``Beit``.

    python tools/model_converters/mmcae_to_timm.py SRC DST

SRC is a checkpoint of CAE pretraining (its encoder is converted) or of
fine-tuning. Its tensors have the names of mmcae, of OpenMMLab or of the
authors. DST ends in .safetensors or .pth; its metadata `timm_args` holds the
arguments of `timm.models.beit.Beit`. The tool prints the lines that build and
load the model. It does not need timm.
"""

import json
import sys

from converter_cli import (
    add_encoder_arguments,
    converter_parser,
    parse_paths,
    refuse,
)
from encoder_tensors import encoder_tensors, model_tensors, refuse_probes
from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import conversion_report
from mmcae.checkpoint.normalization import IMAGENET
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import weights_of
from mmcae.utils import convert_if_official, to_official


def split_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace each bias of queries, keys and values by the two of ``Beit``.

    ``Beit`` has no bias of the keys. It would add the same number to all
    scores of a query, which the softmax cancels, so the outputs stay equal.
    """
    split = {}
    for key, value in state.items():
        if key.endswith('.attn.qkv.bias'):
            stem = key.removesuffix('qkv.bias')
            split[stem + 'q_bias'], _, split[stem + 'v_bias'] = value.chunk(3)
        else:
            split[key] = value
    return split


def timm_args(
    state: dict[str, Tensor], pool: str, num_heads: int | None
) -> dict[str, object]:
    """Derive the arguments of ``Beit`` from an encoder's tensors.

    Args:
        state: Tensors with mmcae's names.
        pool: ``'token'`` or ``'avg'``.
        num_heads: Number of attention heads; None if the width tells it.

    Raises:
        ValueError: If the number of heads or the size of the images does not
            follow from the tensors.
    """
    args = encoder_args(state, num_heads)
    arch = args['arch']
    head = state.get('head.fc.weight')
    return dict(
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        in_chans=args['in_channels'],
        num_classes=0 if head is None else len(head),
        global_pool=pool,
        embed_dim=arch['embed_dims'],
        depth=arch['num_layers'],
        num_heads=arch['num_heads'],
        qkv_bias=bool(args['bias']),
        mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'],
        init_values=args['layer_scale_init_value'] or None,
        use_abs_pos_emb=args['use_abs_pos_emb'],
        use_rel_pos_bias=args['use_rel_pos_bias'],
    )


def convert(
    checkpoint: dict, pool: str = 'token', num_heads: int | None = None
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Convert a checkpoint.

    Args:
        checkpoint: A checkpoint of pretraining or of fine-tuning.
        pool: For an encoder: with ``'token'``, its final norm is applied to
            all tokens; with ``'avg'``, it becomes the norm of the mean patch
            token, as in fine-tuning.
        num_heads: See :func:`timm_args`.

    Returns:
        A state dict for timm's ``Beit``, and the arguments of ``Beit``.

    Raises:
        ValueError: If it cannot be converted; the message says why.
    """
    state = model_tensors(checkpoint)
    if 'head.fc.weight' in state:
        refuse_probes(
            state, 'timm', 'neck.bn.running_mean', 'head.query_token'
        )
        pool = 'avg'
        renamed = to_official(state)
    else:
        official = to_official(encoder_tensors(state))
        renamed = {k.removeprefix('encoder.'): v for k, v in official.items()}
        if pool == 'avg':
            for leaf in ('weight', 'bias'):
                renamed[f'fc_norm.{leaf}'] = renamed.pop(f'norm.{leaf}')
    renamed = {
        k: v
        for k, v in split_biases(renamed).items()
        if not k.endswith('.relative_position_index')  # timm derives it
    }
    return renamed, timm_args(state, pool, num_heads)


def main() -> int:
    parser = converter_parser(__doc__)
    add_encoder_arguments(parser, ('token', 'avg'))
    args = parse_paths(parser)
    try:
        checkpoint, digest = read_with_digest(args.src)
        state, arguments = convert(checkpoint, args.pool, args.num_heads)
    except (ValueError, FileNotFoundError) as error:
        return refuse(args.src, error)
    source = weights_of(checkpoint)
    meta = {
        **file_header(
            weights_of(convert_if_official(checkpoint)),
            args.src,
            digest,
            checkpoint,
            names='timm',
            num_heads=args.num_heads,
        ),
        'architecture': 'timm.models.beit.Beit',
        'timm_args': json.dumps(arguments),
    }
    if 'head.weight' not in state:
        meta['model'] = 'encoder'
    write_weights(state, args.dst, meta)
    call = ', '.join(f'{key}={value!r}' for key, value in arguments.items())
    report = conversion_report(f'Written to {args.dst}', source, state)
    print('# ' + str(report).replace('\n', '\n# '))
    recorded = meta.get('normalization')
    if recorded is None:
        print(
            f'# {args.src} does not record how images were normalized.\n'
            f'# For ImageNet: RGB in 0..1, then {IMAGENET}'
        )
    else:
        print(f'# Images: RGB in 0..1, then {recorded}')
    print('from timm.models import load_checkpoint')
    print('from timm.models.beit import Beit')
    print(f'model = Beit({call})')
    print(f'load_checkpoint(model, {str(args.dst)!r})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
