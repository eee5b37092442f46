# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Encode a folder of images and keep the features in one file.

    python tools/extract_features.py CONFIG CHECKPOINT ROOT OUT

CONFIG is a config of CAE or of a classifier on its encoder (a path, or the
name of a packaged config), CHECKPOINT a file of any source ('random' for
freshly drawn weights), OUT ends in .npz or .safetensors. The file holds
`features` (N, D), `labels` (N,) and the class names (the folder of an image
below ROOT is its class; without folders there are no labels), and the paths.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain import get_model
from safetensors.numpy import save_file
from torch.utils.data import DataLoader, default_collate

from mmcae.apis import extract_features
from mmcae.apis.launch import run
from mmcae.datasets import FolderDataset
from mmcae.utils import find_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('root', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument(
        '--pool',
        choices=['mean', 'cls', 'both'],
        default='mean',
        help='mean of the patch tokens (default), class token, or both',
    )
    parser.add_argument(
        '--crop-ratio',
        type=float,
        default=0.875,
        help='side of the centre crop over the resized short side '
        '(default: 224 / 256); 1 keeps the whole of square images',
    )
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--num-workers', type=int, default=4)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--seed', type=int, default=0, help="for 'random'")
    args = parser.parse_args()
    if args.out.suffix not in ('.npz', '.safetensors'):
        parser.error(f'{args.out} must end in .npz or .safetensors')
    return args


def load_model(args: argparse.Namespace) -> torch.nn.Module:
    """Build the model without its tokenizer, which features do not need."""
    config = Config.fromfile(find_config(args.config))
    config.model.pop('target_generator', None)
    torch.manual_seed(args.seed)
    random = args.checkpoint == 'random'
    if not random and not os.path.isfile(args.checkpoint):
        raise FileNotFoundError(
            f"there is no checkpoint {args.checkpoint} ('random' draws "
            'weights)'
        )
    model = get_model(config, pretrained=False if random else args.checkpoint)
    if random:
        model.init_weights()
    return model.to(args.device)


def load_images(args: argparse.Namespace, side: int) -> DataLoader:
    """Centre crops of all images below the root, in the order of names."""
    short = round(side / args.crop_ratio)
    backend = dict(backend='pillow', interpolation='bicubic')
    dataset = FolderDataset(
        str(args.root),
        test_mode=True,
        pipeline=[
            dict(type='mmcae.LoadImage'),
            dict(
                type='mmpretrain.ResizeEdge',
                scale=short,
                edge='short',
                **backend,
            ),
            dict(type='mmpretrain.CenterCrop', crop_size=side),
            dict(type='mmpretrain.PackInputs'),
        ],
    )
    return DataLoader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        collate_fn=default_collate_samples,
    )


def default_collate_samples(samples: list[dict]) -> dict:
    return dict(
        inputs=default_collate([sample['inputs'] for sample in samples]),
        data_samples=[sample['data_samples'] for sample in samples],
    )


def two_views(batches: DataLoader, model: torch.nn.Module):
    """Give CAE's preprocessor the two views that it normalises."""
    for batch in batches:
        if hasattr(model.data_preprocessor, 'second_mean'):
            batch['inputs'] = [batch['inputs'], batch['inputs']]
        yield batch


def class_labels(
    paths: list[str], root: Path
) -> tuple[np.ndarray, list[str]] | None:
    """Classes by folder, sorted by name; None without folders."""
    names = [os.path.relpath(os.path.dirname(p), root) for p in paths]
    classes = sorted(set(names))
    if classes == ['.']:
        return None
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in names]), classes


def main() -> None:
    args = parse_args()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = load_model(args)
        side = min(model.backbone.img_size)
        loader = load_images(args, side)
        features = extract_features(model, two_views(loader, model), args.pool)
    dataset = loader.dataset
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    arrays = dict(features=features.numpy())
    lists = dict(paths=[os.path.relpath(p, args.root) for p in paths])
    labelled = class_labels(paths, args.root)
    if labelled is not None:
        arrays['labels'], lists['classes'] = labelled
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.out.suffix == '.npz':
        np.savez(args.out, **arrays, **lists)
    else:
        metadata = {key: json.dumps(value) for key, value in lists.items()}
        save_file(arrays, args.out, metadata)
    count = f'{len(lists["classes"])} classes' if labelled else 'no labels'
    print(
        f'{len(features)} images, {features.shape[1]} numbers each '
        f'({args.pool}, {side} px, last block), {count} -> {args.out}'
    )


if __name__ == '__main__':
    run(main)
