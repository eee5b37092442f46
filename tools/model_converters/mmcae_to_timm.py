# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert an encoder or a fine-tuned classifier to timm's ``Beit``.

    python tools/model_converters/mmcae_to_timm.py SRC DST

SRC is a checkpoint of CAE pretraining (its encoder is taken) or of
fine-tuning, in mmcae's, OpenMMLab's or the authors' names. DST ends in
``.safetensors`` or ``.pth``; it also holds the arguments of
``timm.models.beit.Beit`` (metadata ``timm_args``), and the lines that build
and load the model are printed. timm itself is not needed.
"""

import json
import sys

from converter_cli import converter_parser, parse_paths, refuse
from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import conversion_report
from mmcae.checkpoint.normalization import IMAGENET
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import weights_of
from mmcae.utils import convert_if_official, to_official


def encoder_state(state: dict[str, Tensor], pool: str) -> dict[str, Tensor]:
    """Rename an encoder's tensors and leave everything else out.

    Args:
        state: Tensors of `CAE`.
        pool: ``'token'``: the final norm is applied to all tokens;
            ``'avg'``: it becomes the norm of the mean, as for fine-tuning.

    Raises:
        ValueError: If there is no encoder with a final norm.
    """
    kept = {
        k: v
        for k, v in state.items()
        if k.startswith('backbone.') and not k.startswith('backbone.ln2.')
    }
    if 'backbone.ln1.weight' not in kept:
        raise ValueError(
            'found neither a CAE encoder with its final norm '
            '(backbone.ln1.weight) nor a fine-tuned classifier '
            f'(head.fc.weight) among {len(state)} tensors: '
            f'{", ".join(list(state)[:3])}, ...'
        )
    renamed = {
        k.removeprefix('encoder.'): v for k, v in to_official(kept).items()
    }
    if pool == 'avg':
        for leaf in ('weight', 'bias'):
            renamed[f'fc_norm.{leaf}'] = renamed.pop(f'norm.{leaf}')
    return renamed


def classifier_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a fine-tuned classifier's tensors.

    Raises:
        ValueError: If it is a classifier that ``Beit`` cannot express.
    """
    for key in ('neck.bn.running_mean', 'head.query_token'):
        if key in state:
            raise ValueError(
                f'a linear or attentive probe ({key}) has no form in timm; '
                'convert the checkpoint of the pretraining'
            )
    return to_official(state)


def split_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace full biases of queries, keys and values by those ``Beit`` has.

    The bias of the keys adds the same number to all scores of a query, which
    the softmax cancels: leaving it out changes nothing.
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
    """Read the arguments of ``Beit`` off an encoder's tensors.

    Args:
        state: Tensors with mmcae's names.
        pool: ``'token'`` or ``'avg'``.
        num_heads: Number of heads, where no tensor tells it.

    Raises:
        ValueError: If the number of heads, or the size of the images, does
            not follow from the tensors.
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
        pool: For an encoder: ``'token'`` or ``'avg'``.
        num_heads: See :func:`timm_args`.

    Returns:
        A state dict for timm's ``Beit``, and the arguments of ``Beit``.

    Raises:
        ValueError: If it cannot be converted; the message says why.
    """
    state = dict(weights_of(convert_if_official(checkpoint)))
    state = {k.removeprefix('module.'): v for k, v in state.items()}
    if 'head.fc.weight' in state:
        pool = 'avg'
        renamed = classifier_state(state)
    else:
        renamed = encoder_state(state, pool)
    renamed = {
        k: v
        for k, v in split_biases(renamed).items()
        if not k.endswith('.relative_position_index')  # timm derives it
    }
    return renamed, timm_args(state, pool, num_heads)


def main() -> int:
    parser = converter_parser(__doc__)
    parser.add_argument(
        '--pool',
        choices=('token', 'avg'),
        default='token',
        help='output of an encoder: the normalised class token (default), or '
        'the normalised mean of the patch tokens, as for fine-tuning',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        help="attention heads, for sizes other than the authors'",
    )
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
            f'# How images were normalized is not recorded in {args.src}; '
            f"ImageNet's\n# recipes take RGB in 0..1, then {IMAGENET}"
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
