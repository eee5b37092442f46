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

from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import conversion_report
from mmcae.checkpoint.normalization import IMAGENET
from mmcae.checkpoint.official import convert_if_official
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import weights_of
from mmcae.export.timm_names import convert_to_timm as convert


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
