# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert an encoder or a classifier to mmpretrain's own ``BEiTViT``.

    python tools/model_converters/mmcae_to_mmpretrain.py SRC DST

Use it where mmcae is not installed. SRC is a checkpoint of CAE pretraining
(its encoder is converted), of fine-tuning or of a linear probe. Its tensors
have the names of mmcae, of OpenMMLab or of the authors. DST ends in .pth or
.safetensors; mmpretrain without mmcae reads only .pth. The tool prints the
lines of a config that build and load the model.
"""

import pprint
import sys

from converter_cli import (
    add_encoder_arguments,
    converter_parser,
    parse_paths,
    refuse,
)

from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import conversion_report
from mmcae.checkpoint.normalization import IMAGENET
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import weights_of
from mmcae.export.mmpretrain_names import (
    convert_to_mmpretrain as convert,
)
from mmcae.export.mmpretrain_names import preprocessor


def main() -> int:
    parser = converter_parser(__doc__)
    add_encoder_arguments(parser, ('avg', 'token'))
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
        '# The outputs are equal in evaluation mode. In training, BEiTViT '
        'applies\n# drop path twice per branch and trains its position table; '
        'mmcae.CAEViT\n# does neither.'
    )
    print(f'model = {pprint.pformat(config, sort_dicts=False, width=79)}')
    recorded = header.get('normalization')
    if recorded is None:
        print(
            f'# {args.src} does not record how images were normalized; this '
            "is\n# ImageNet's normalization:"
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
