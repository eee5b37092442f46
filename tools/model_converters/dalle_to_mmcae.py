# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Convert the weights of DALL-E's tokenizer without executing the file.

OpenAI's files are pickled module objects, and an ordinary loader runs the code
that such a file names. This tool reads the few names that these files need and
refuses a file with any other name.

    wget https://cdn.openai.com/dall-e/encoder.pkl
    python tools/model_converters/dalle_to_mmcae.py \\
        encoder.pkl checkpoints/dalle_encoder.safetensors

decoder.pkl, which is needed only to draw reconstructions, is converted in the
same way. OpenMMLab's dalle_encoder.pth and .safetensors files are checked and
written again.
"""

import re
import sys

import torch
from converter_cli import converter_parser, parse_paths, refuse
from torch import Tensor

from mmcae.checkpoint.dalle_pickle import read_module_pickle
from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.reading import (
    read_checkpoint,
    sha256_of,
    write_weights,
)
from mmcae.checkpoint.weights import compare_state_dicts, weights_of
from mmcae.models import DALLEDecoder, DALLEEncoder


def read_source(path: str) -> dict[str, Tensor]:
    """Read the tensors of any of the accepted files.

    Args:
        path: The file.

    Returns:
        The tensors by name.

    Raises:
        ValueError: If the file is refused, or holds something else.
    """
    try:
        checkpoint = read_checkpoint(path)
    except ValueError:
        if path.lower().endswith('.safetensors'):
            raise
        return read_module_pickle(path)
    return weights_of(checkpoint, path)


def matching_module(state_dict: dict[str, Tensor]) -> torch.nn.Module:
    """Build the module that the tensors belong to, on the meta device.

    Args:
        state_dict: The tensors by name.

    Returns:
        An encoder or a decoder of the same sizes.

    Raises:
        ValueError: If there is no first or no last convolution.
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


def read_checked(path: str) -> tuple[dict[str, Tensor], str]:
    """Read the tensors, and check that they are an encoder or a decoder.

    Args:
        path: The file.

    Returns:
        The tensors by name, and the name of their class.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is refused, or is of another model.
    """
    state_dict = read_source(path)
    try:
        module = matching_module(state_dict)
        problems = compare_state_dicts(module.state_dict(), state_dict)
    except (ValueError, ArithmeticError, IndexError) as error:
        problems = [str(error)]
    if problems:
        raise ValueError(
            f'{path} is not a DALL-E encoder or decoder: '
            f'{"; ".join(problems)}.'
        )
    return state_dict, type(module).__name__


def main() -> int:
    args = parse_paths(
        converter_parser(
            __doc__,
            "OpenAI's encoder.pkl or decoder.pkl, or a .pth or .safetensors "
            'file with the same tensors',
        )
    )
    try:
        state_dict, name = read_checked(str(args.src))
    except (OSError, ValueError) as error:
        return refuse(args.src, error)
    header = file_header(state_dict, args.src, sha256_of(args.src), {})
    header['model'] = name
    digest = write_weights(state_dict, args.dst, header)
    count = sum(value.numel() for value in state_dict.values())
    print(
        f'{name}: {len(state_dict)} tensors, {count:,} numbers, written to '
        f'{args.dst}\nSHA-256 {digest}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
