# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert an encoder or a classifier to mmpretrain's own ``BEiTViT``.

    python tools/model_converters/mmcae_to_mmpretrain.py SRC DST

For where mmcae is not installed. SRC is a checkpoint of CAE pretraining (its
encoder is taken), of fine-tuning or of a linear probe, in mmcae's,
OpenMMLab's or the authors' names. DST ends in ``.pth`` or ``.safetensors``;
mmpretrain without mmcae reads the former only. The lines of a config that
build and load the model are printed.
"""

import pprint
import sys

from converter_cli import converter_parser, parse_paths, refuse
from torch import Tensor

from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import conversion_report
from mmcae.checkpoint.normalization import IMAGENET
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import weights_of
from mmcae.utils import convert_if_official

# mmpretrain's sizes of these names are the authors'; its small is another.
NAMED = {768: 'base', 1024: 'large'}


def encoder_state(state: dict[str, Tensor], pool: str) -> dict[str, Tensor]:
    """Take an encoder's tensors and leave everything else out.

    Args:
        state: Tensors of `CAE`.
        pool: ``'avg'``: the final norm becomes the norm of the mean, which
            mmpretrain would leave at its initial values; ``'token'``: it
            stays the final norm.

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
    if pool == 'avg':
        for leaf in ('weight', 'bias'):
            kept[f'backbone.ln2.{leaf}'] = kept.pop(f'backbone.ln1.{leaf}')
    return kept


def classifier_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the tensors of a fine-tuned classifier or a linear probe.

    Raises:
        ValueError: If it is a model that mmpretrain does not have.
    """
    if 'head.query_token' in state:
        raise ValueError(
            'an attentive probe (head.query_token) has no form in '
            'mmpretrain; convert the checkpoint of the pretraining'
        )
    known = ('backbone.', 'head.fc.', 'neck.bn.')
    kept = {k: v for k, v in state.items() if not k.startswith('data_pre')}
    foreign = [key for key in kept if not key.startswith(known)]
    if foreign:
        raise ValueError(f'unknown tensors: {", ".join(foreign[:5])}')
    return kept


def model_config(
    state: dict[str, Tensor], num_heads: int | None = None
) -> dict:
    """Config of mmpretrain's ``ImageClassifier`` for converted tensors.

    Args:
        state: What :func:`convert` writes.
        num_heads: Number of heads, where no tensor tells it.

    Raises:
        ValueError: If sizes do not follow from the tensors.
    """
    args = encoder_args(state, num_heads)
    dims = args['arch']['embed_dims']
    sizes = dict(embed_dims=dims, num_layers=12, num_heads=12,
                 feedforward_channels=4 * dims)  # fmt: skip
    if dims == 1024:
        sizes.update(num_layers=24, num_heads=16)
    if dims in NAMED and sizes == args['arch']:
        args['arch'] = NAMED[dims]
    pooled = 'backbone.ln2.weight' in state
    model = dict(
        type='ImageClassifier',
        backbone=dict(
            type='BEiTViT',
            **args,
            out_type='avg_featmap' if pooled else 'cls_token',
            final_norm='backbone.ln1.weight' in state,
        ),
    )
    if 'neck.bn.running_mean' in state:
        model['neck'] = dict(
            type='ClsBatchNormNeck', input_features=dims, eps=1e-6
        )
    if 'head.fc.weight' in state:
        model['head'] = dict(
            type='LinearClsHead',
            num_classes=len(state['head.fc.weight']),
            in_channels=dims,
        )
    return model


def preprocessor(normalization: dict[str, list[float]]) -> dict:
    """Arguments of mmpretrain's ``ClsDataPreprocessor``.

    Args:
        normalization: ``mean`` and ``std`` of RGB in 0..1.
    """
    pixels = {
        name: [round(255 * value, 4) for value in values]
        for name, values in normalization.items()
    }
    return dict(**pixels, to_rgb=True)


def convert(
    checkpoint: dict, pool: str = 'avg', num_heads: int | None = None
) -> tuple[dict[str, Tensor], dict]:
    """Convert a checkpoint.

    Args:
        checkpoint: A checkpoint of pretraining, fine-tuning or linear
            probing.
        pool: For an encoder: ``'avg'`` or ``'token'``.
        num_heads: See :func:`model_config`.

    Returns:
        A state dict for mmpretrain's ``ImageClassifier``, and its config.

    Raises:
        ValueError: If it cannot be converted; the message says why.
    """
    state = dict(weights_of(convert_if_official(checkpoint)))
    state = {k.removeprefix('module.'): v for k, v in state.items()}
    if 'head.fc.weight' in state:
        state = classifier_state(state)
    else:
        state = encoder_state(state, pool)
    return state, model_config(state, num_heads)


def main() -> int:
    parser = converter_parser(__doc__)
    parser.add_argument(
        '--pool',
        choices=('avg', 'token'),
        default='avg',
        help='output of an encoder: the normalised mean of the patch tokens, '
        'as for fine-tuning (default), or the normalised class token',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        help="attention heads, for sizes other than the authors'",
    )
    args = parse_paths(parser)
    try:
        checkpoint, digest = read_with_digest(args.src)
        state, config = convert(checkpoint, args.pool, args.num_heads)
    except (ValueError, FileNotFoundError) as error:
        return refuse(args.src, error)
    header = file_header(
        state, args.src, digest, checkpoint, 'mmpretrain', args.num_heads
    )
    write_weights(state, args.dst, header)
    report = conversion_report(
        f'Written to {args.dst}', weights_of(checkpoint), state
    )
    print('# ' + str(report).replace('\n', '\n# '))
    print(
        '# Equal outputs in evaluation. In training, BEiTViT drops a branch '
        'twice\n# and learns its position table; mmcae.CAEViT does neither.'
    )
    print(f'model = {pprint.pformat(config, sort_dicts=False, width=79)}')
    recorded = header.get('normalization')
    if recorded is None:
        print(
            f'# How images were normalized is not recorded in {args.src}; '
            "these are ImageNet's:"
        )
    print(f'data_preprocessor = {preprocessor(recorded or IMAGENET)}')
    print(f'load_from = {str(args.dst)!r}')
    if 'head' not in config:
        print(
            '# To fine-tune as the authors do: add a head, and '
            'use_rel_pos_bias=True.'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
