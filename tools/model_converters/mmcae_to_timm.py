# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert an encoder or a fine-tuned classifier to timm's ``Beit``.

    python tools/model_converters/mmcae_to_timm.py SRC DST

SRC is a checkpoint of CAE pretraining (its encoder is taken) or of
fine-tuning, in mmcae's, OpenMMLab's or the authors' names. DST ends in
``.safetensors`` or ``.pth``; it also holds the arguments of
``timm.models.beit.Beit`` (metadata ``timm_args``), and the lines that build
and load the model are printed. timm itself is not needed.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from torch import Tensor

from mmcae.utils import convert_if_official, to_official
from mmcae.utils.checkpoint_io import read_checkpoint, write_weights
from mmcae.utils.official import unwrap

# Heads of the authors' sizes, by width: no tensor tells their number, unless
# there are relative position tables.
HEADS = {384: 12, 768: 12, 1024: 16}
# What the images of mmcae's recipes are normalised with; not timm's default
# for BEiT.
IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


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


def square_side(number: int, what: str) -> int:
    side = math.isqrt(number)
    if side * side != number:
        raise ValueError(f'{what} is of no square grid ({number} entries)')
    return side


def timm_args(
    state: dict[str, Tensor], pool: str, num_heads: int | None
) -> dict[str, object]:
    """Read the arguments of ``Beit`` off its tensors.

    Args:
        state: Tensors with timm's names.
        pool: ``'token'`` or ``'avg'``.
        num_heads: Number of heads, where no tensor tells it.

    Raises:
        ValueError: If the number of heads, or the size of the images, does
            not follow from the tensors.
    """
    dims, channels, *patch = state['patch_embed.proj.weight'].shape
    table = state.get('blocks.0.attn.relative_position_bias_table')
    if table is not None:
        num_heads = table.shape[1]
        side = (square_side(table.shape[0] - 3, 'relative bias') + 1) // 2
    elif 'pos_embed' in state:
        side = square_side(state['pos_embed'].shape[1] - 1, 'pos_embed')
    else:
        raise ValueError('without any positions, the image size is unknown')
    num_heads = num_heads or HEADS.get(dims)
    if num_heads is None:
        raise ValueError(
            f"an encoder of width {dims} is none of the authors' sizes: "
            'give --num-heads'
        )
    if dims % num_heads:
        raise ValueError(f'{num_heads} heads do not divide the width {dims}')
    classes = state['head.weight'].shape[0] if 'head.weight' in state else 0
    return dict(
        img_size=(side * patch[0], side * patch[1]),
        patch_size=tuple(patch),
        in_chans=channels,
        num_classes=classes,
        global_pool=pool,
        embed_dim=dims,
        depth=1
        + max(int(k.split('.')[1]) for k in state if k[:7] == 'blocks.'),
        num_heads=num_heads,
        qkv_bias='blocks.0.attn.q_bias' in state,
        mlp_ratio=state['blocks.0.mlp.fc1.weight'].shape[0] / dims,
        # Any number makes room for layer scales; the file has their values.
        init_values=0.1 if 'blocks.0.gamma_1' in state else None,
        use_abs_pos_emb='pos_embed' in state,
        use_rel_pos_bias=table is not None,
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
    state = dict(unwrap(convert_if_official(checkpoint)))
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
    return renamed, timm_args(renamed, pool, num_heads)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', type=Path, help='checkpoint to read')
    parser.add_argument(
        'dst', type=Path, help='file to write: .pth or .safetensors'
    )
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
    args = parser.parse_args()
    if args.dst.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{args.dst} must end in .pth or .safetensors')
    try:
        state, arguments = convert(
            read_checkpoint(args.src), args.pool, args.num_heads
        )
    except (ValueError, FileNotFoundError) as error:
        print(f'{args.src}: {error}', file=sys.stderr)
        return 1
    meta = {
        'format': 'pt',
        'architecture': 'timm.models.beit.Beit',
        'timm_args': json.dumps(arguments),
        'normalization': json.dumps(IMAGENET),
    }
    write_weights(state, args.dst, meta)
    size = sum(value.numel() for value in state.values())
    call = ', '.join(f'{key}={value!r}' for key, value in arguments.items())
    print(f'# {len(state)} tensors, {size:,} numbers -> {args.dst}')
    print(f'# Images: RGB in 0..1, then {IMAGENET}')
    print('from timm.models import load_checkpoint')
    print('from timm.models.beit import Beit')
    print(f'model = Beit({call})')
    print(f'load_checkpoint(model, {str(args.dst)!r})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
