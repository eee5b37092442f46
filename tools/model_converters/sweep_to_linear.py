# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write one classifier of a sweep of learning rates as a plain checkpoint.

    python tools/model_converters/sweep_to_linear.py SRC DST [--lr 3.2]

SRC is a checkpoint of a linear probe with mmcae.SweepLinearHead. DST, a .pth
or .safetensors file, gets the classifier of one learning rate and fits the
config without the sweep. Without --lr, the tool takes the classifier that was
best in the last evaluation before SRC was written.
"""

import sys

from converter_cli import converter_parser, parse_paths, refuse

from mmcae.checkpoint.reading import read_checkpoint, write_weights
from mmcae.checkpoint.weights import meta_of, weights_of
from mmcae.export.sweep import accuracies, choose, take

KEPT_META = ('epoch', 'iter', 'dataset_meta')


def main() -> int:
    parser = converter_parser(__doc__, 'checkpoint of a sweep')
    parser.add_argument(
        '--lr',
        type=float,
        help='peak learning rate of the classifier (default: the best)',
    )
    args = parse_paths(parser)
    try:
        checkpoint = read_checkpoint(args.src)
        state = dict(weights_of(checkpoint))
        found = accuracies(state)
        name = choose(found, args.lr)
    except (ValueError, FileNotFoundError) as error:
        return refuse(args.src, error)
    meta = meta_of(checkpoint)
    meta = {key: meta[key] for key in KEPT_META if key in meta}
    write_weights(take(state, name), args.dst, meta)
    for other, accuracy in found.items():
        mark = '  <- taken' if other == name else ''
        print(f'{other:>8}  {accuracy:6.2f} %{mark}')
    print(args.dst)
    return 0


if __name__ == '__main__':
    sys.exit(main())
