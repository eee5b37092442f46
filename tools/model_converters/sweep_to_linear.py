# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Take one classifier out of a sweep of learning rates.

    python tools/model_converters/sweep_to_linear.py SRC DST [--lr 3.2]

SRC is a checkpoint of a linear probe with mmcae.SweepLinearHead. DST, a .pth
or .safetensors file, has the weights of the same probe with one learning
rate: a checkpoint for the config without the sweep. Without --lr it is the
best in the last evaluation before SRC was written.
"""

import argparse
import json
import sys
from pathlib import Path

from converter_cli import refuse
from torch import Tensor

from mmcae.checkpoint.reading import read_checkpoint, write_weights
from mmcae.checkpoint.weights import meta_of, weights_of

HEADS = 'head.fcs.'
KEPT_META = ('epoch', 'iter', 'dataset_meta')


def accuracies(state: dict[str, Tensor]) -> dict[str, float]:
    """Read the names of a sweep's classifiers, and their top-1.

    Args:
        state: Tensors of a classifier with a `SweepLinearHead`.

    Raises:
        ValueError: If it is none.
    """
    names = [
        key.removeprefix(HEADS).removesuffix('.weight').replace('_', '.')
        for key in state
        if key.startswith(HEADS) and key.endswith('.weight')
    ]
    known = state.get('head.accuracy')
    if not names or known is None or known.shape != (len(names),):
        raise ValueError(
            f'found no sweep ({HEADS}*, head.accuracy) among {len(state)} '
            f'tensors: {", ".join(list(state)[:3])}, ...'
        )
    return dict(zip(names, known.tolist(), strict=True))


def take(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Keep one classifier, with the names of ``LinearClsHead``.

    Args:
        state: As for :func:`accuracies`.
        name: Which, e.g. ``'lr0.8'``.
    """
    kept = HEADS + name.replace('.', '_')
    return {
        key.replace(kept, 'head.fc'): value
        for key, value in state.items()
        if key.startswith(kept + '.')
        or not key.startswith((HEADS, 'head.accuracy'))
    }


def choose(found: dict[str, float], lr: float | None) -> str:
    """Name of the classifier to take.

    Args:
        found: What :func:`accuracies` returns.
        lr: Its learning rate, or None for the best.

    Raises:
        ValueError: If there is none with that rate, or none was evaluated.
    """
    if lr is None:
        if not any(found.values()):
            raise ValueError(
                f'was written before an evaluation: give --lr, one of '
                f'{", ".join(found)}'
            )
        return max(found, key=lambda name: found[name])
    for name in found:
        if float(name.removeprefix('lr')) == float(f'{lr:g}'):
            return name
    raise ValueError(f'has no --lr {lr:g}, only {", ".join(found)}')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', type=Path, help='checkpoint of a sweep')
    parser.add_argument(
        'dst', type=Path, help='file to write: .pth or .safetensors'
    )
    parser.add_argument(
        '--lr', type=float, help='peak learning rate (default: the best)'
    )
    args = parser.parse_args()
    if args.dst.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{args.dst} must end in .pth or .safetensors')
    try:
        checkpoint = read_checkpoint(args.src)
        state = dict(weights_of(checkpoint))
        found = accuracies(state)
        name = choose(found, args.lr)
    except (ValueError, FileNotFoundError) as error:
        return refuse(args.src, error)
    args.dst.parent.mkdir(parents=True, exist_ok=True)
    meta = meta_of(checkpoint)
    meta = {key: meta[key] for key in KEPT_META if key in meta}
    if args.dst.suffix == '.safetensors':
        meta = {key: json.dumps(value) for key, value in meta.items()}
    write_weights(take(state, name), args.dst, meta)
    for other, accuracy in found.items():
        mark = '  <- taken' if other == name else ''
        print(f'{other:>8}  {accuracy:6.2f} %{mark}')
    print(args.dst)
    return 0


if __name__ == '__main__':
    sys.exit(main())
