# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert a CAE checkpoint between the authors' names and mmcae's.

    python tools/model_converters/official_to_mmcae.py SRC DST
    python tools/model_converters/official_to_mmcae.py --reverse SRC DST

SRC is any file of the authors' repositories (whole, wrapped in ``model``, or
the encoder only) or, with ``--reverse``, an mmcae checkpoint. DST ends in
``.pth`` or ``.safetensors``. Configs read the authors' files without this
tool too: ``load_from`` and ``Pretrained`` convert on the fly.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmcae.utils import from_official, to_official
from mmcae.utils.checkpoint_io import read_checkpoint


def save(state_dict: dict, path: Path, reverse: bool) -> None:
    """Write a state dict under its final name only once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.part')
    state_dict = {k: v.contiguous() for k, v in state_dict.items()}
    if path.suffix == '.safetensors':
        save_file(state_dict, partial)
    else:
        key = 'model' if reverse else 'state_dict'
        torch.save({key: state_dict}, partial)
    os.replace(partial, path)


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
        '--reverse', action='store_true', help="from mmcae to the authors'"
    )
    args = parser.parse_args()
    if args.dst.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{args.dst} must end in .pth or .safetensors')
    convert = to_official if args.reverse else from_official
    try:
        state_dict = convert(read_checkpoint(args.src))
    except (ValueError, FileNotFoundError) as error:
        print(f'{args.src}: {error}', file=sys.stderr)
        return 1
    save(state_dict, args.dst, args.reverse)
    size = sum(value.numel() for value in state_dict.values())
    print(f'{len(state_dict)} tensors, {size:,} numbers -> {args.dst}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
