# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert a CAE checkpoint between the authors' names and mmcae's.

    python tools/model_converters/official_to_mmcae.py SRC DST
    python tools/model_converters/official_to_mmcae.py --reverse SRC DST

SRC is a checkpoint of the authors' repositories (a whole model, a dict with
the key `model`, or only an encoder) or, with --reverse, an mmcae checkpoint.
DST ends in .pth or .safetensors. Configs do not need this tool: `load_from`
and `Pretrained` read the authors' files and convert them while loading.
"""

import sys

from converter_cli import converter_parser, parse_paths, refuse

from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import conversion_report
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import weights_of
from mmcae.utils import from_official, to_official


def main() -> int:
    parser = converter_parser(__doc__)
    parser.add_argument(
        '--reverse',
        action='store_true',
        help="from mmcae's names to the authors'",
    )
    args = parse_paths(parser)
    convert = to_official if args.reverse else from_official
    try:
        checkpoint, digest = read_with_digest(args.src)
        state_dict = convert(checkpoint)
    except (ValueError, FileNotFoundError) as error:
        return refuse(args.src, error)
    source = weights_of(checkpoint)
    header = file_header(
        source if args.reverse else state_dict,
        args.src,
        digest,
        checkpoint,
        names='authors' if args.reverse else 'mmcae',
    )
    # The authors' programs read the tensors from the key `model`.
    key = 'model' if args.reverse else 'state_dict'
    write_weights(state_dict, args.dst, header, key)
    print(conversion_report(f'Written to {args.dst}', source, state_dict))
    return 0


if __name__ == '__main__':
    sys.exit(main())
