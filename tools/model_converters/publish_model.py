# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a checkpoint for publication from one of training.

    python tools/model_converters/publish_model.py SRC DST

The published file has no optimizer, schedules, logs, teacher or tokenizer. It
keeps what describes the weights: version, epoch, classes, name of the
tokenizer. DST ends in .pth or .safetensors. The tool adds the first 8 digits
of the file's SHA-256 to the name; mmcae and torch.hub check them after a
download.
"""

import sys

from converter_cli import converter_parser, parse_paths, refuse

from mmcae.export.publishing import publish


def main() -> int:
    args = parse_paths(converter_parser(__doc__))
    try:
        final, report = publish(args.src, args.dst)
    except (ValueError, FileNotFoundError) as error:
        return refuse(args.src, error)
    before, after = (path.stat().st_size for path in (args.src, final))
    print(report)
    print(f'{after / 2**20:.1f} MB, was {before / 2**20:.1f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
