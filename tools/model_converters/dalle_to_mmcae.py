# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert DALL-E's tokenizer weights, reading them as data only.

OpenAI's files are pickled module objects, which an ordinary loader executes.
This one knows the few names they consist of and refuses every other.

    wget https://cdn.openai.com/dall-e/encoder.pkl
    python tools/model_converters/dalle_to_mmcae.py \\
        encoder.pkl checkpoints/dalle_encoder.safetensors

``decoder.pkl`` (needed for pictures only) is converted in the same way.
OpenMMLab's ``dalle_encoder.pth`` and ``.safetensors`` files are checked and
rewritten.
"""

import argparse
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from mmcae.checkpoint.dalle_pickle import read_module_pickle
from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.printable import printable, printable_lines
from mmcae.checkpoint.reading import (
    read_checkpoint,
    sha256_of,
    write_weights,
)
from mmcae.checkpoint.weights import compare_state_dicts, weights_of
from mmcae.models import DALLEDecoder, DALLEEncoder


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'src', help="OpenAI's encoder.pkl or decoder.pkl, or a .pth/"
        '.safetensors file with the same tensors',
    )  # fmt: skip
    parser.add_argument('dst', help='the .pth or .safetensors file to write')
    return parser.parse_args()


def read_source(path: str) -> dict[str, Tensor]:
    """Read a state dict from any of the accepted files.

    Args:
        path (str): The file.

    Returns:
        dict[str, Tensor]: Names and tensors.

    Raises:
        ValueError: If the file is refused or of another kind.
    """
    try:
        checkpoint = read_checkpoint(path)
    except ValueError:
        if path.lower().endswith('.safetensors'):
            raise
        return read_module_pickle(path)
    return weights_of(checkpoint, path)


def matching_module(state_dict: dict[str, Tensor]) -> torch.nn.Module:
    """Build, without memory, the module that the tensors belong to.

    Args:
        state_dict (dict[str, Tensor]): Names and tensors.

    Returns:
        nn.Module: An encoder or decoder of the sizes found.

    Raises:
        ValueError: If there is no first and last convolution.
    """
    first = state_dict.get('blocks.input.w')
    last = state_dict.get('blocks.output.conv.w')
    if not isinstance(first, Tensor) or not isinstance(last, Tensor):
        raise ValueError(
            'it has no blocks.input.w and blocks.output.conv.w, but '
            f'{", ".join(map(printable, list(state_dict)[:3]))}, ...'
        )
    numbers = [
        (int(found[1]), int(found[2]))
        for key in state_dict
        if (found := re.match(r'blocks\.group_(\d+)\.block_(\d+)\.', str(key)))
    ]
    sizes = dict(
        group_count=max((g for g, _ in numbers), default=0),
        n_blk_per_group=max((b for _, b in numbers), default=0),
    )
    with torch.device('meta'):
        if first.shape[-1] > 1:
            return DALLEEncoder(
                n_hid=first.shape[0],
                input_channels=first.shape[1],
                vocab_size=last.shape[0],
                **sizes,
            )
        return DALLEDecoder(
            n_init=first.shape[0],
            n_hid=last.shape[1],
            output_channels=last.shape[0] // 2,
            vocab_size=first.shape[1],
            **sizes,
        )


def main() -> None:
    args = parse_args()
    src, dst = Path(args.src).expanduser(), Path(args.dst).expanduser()
    if dst.suffix.lower() not in ('.pth', '.safetensors'):
        sys.exit(f'{dst} must end in .pth or .safetensors.')
    if src.exists() and dst.exists() and src.samefile(dst):
        sys.exit(f'{dst} is the source; give another name.')
    try:
        state_dict = read_source(str(src))
        try:
            module = matching_module(state_dict)
            problems = compare_state_dicts(module.state_dict(), state_dict)
        except (ValueError, ArithmeticError, IndexError) as error:
            problems = [str(error)]
        if problems:
            raise ValueError(
                f'{src} is not a DALL-E encoder or decoder: '
                f'{"; ".join(problems)}.'
            )
    except (OSError, ValueError) as error:
        sys.exit(printable_lines(str(error)))
    header = file_header(state_dict, src, sha256_of(src), {})
    header['model'] = type(module).__name__
    digest = write_weights(state_dict, dst, header)
    count = sum(value.numel() for value in state_dict.values())
    print(
        f'{type(module).__name__}: {len(state_dict)} tensors, {count:,} '
        f'numbers, written to {dst}\nSHA-256 {digest}'
    )


if __name__ == '__main__':
    main()
