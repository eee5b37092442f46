# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Encode a folder of images and write the features to one file.

    python tools/extract_features.py CONFIG CHECKPOINT ROOT OUT

The file holds `features` (N, D), `labels` (N,), the names of the classes and
the paths of the images. The class of an image is its folder below ROOT; if
there are no folders, there are no labels. Unreadable images are left out,
counted and named. As in training, more than three of them (or more than 1 %
of a large dataset) stop the run.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from mmengine.utils import ProgressBar
from mmpretrain import get_model
from safetensors.numpy import save_file
from torch.utils.data import DataLoader, Dataset

from mmcae.apis import extract_features
from mmcae.checkpoint.packaged import is_packaged
from mmcae.datasets import FolderDataset
from mmcae.datasets.transforms.load_image import UnreadableImageError
from mmcae.launch.runner import run
from mmcae.utils import find_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        help='config of CAE or of a classifier with its encoder: a path, or '
        'the name of a packaged config',
    )
    parser.add_argument(
        'checkpoint',
        help="checkpoint in any format that mmcae reads; 'mmcae://NAME' for "
        "weights of the package; 'random' for newly initialized weights",
    )
    parser.add_argument('root', type=Path, help='folder of images')
    parser.add_argument(
        'out', type=Path, help='file to write: .npz or .safetensors'
    )
    parser.add_argument(
        '--pool',
        choices=['mean', 'cls', 'both'],
        default='mean',
        help='feature of an image: the mean of the patch tokens (default), '
        'the class token, or both, concatenated',
    )
    parser.add_argument(
        '--crop-ratio',
        type=float,
        default=0.875,
        help='side of the center crop divided by the short side of the '
        'resized image (default: 0.875, which is 224 / 256); 1 keeps square '
        'images whole',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=64,
        help='images per batch (default: 64)',
    )
    parser.add_argument(
        '--num-workers',
        type=int,
        default=4,
        help='processes that load images (default: 4)',
    )
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='device of the model (default: cuda if there is a GPU)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help="seed of 'random' (default: 0)"
    )
    parser.add_argument(
        '--max-unreadable',
        type=float,
        default=0.01,
        help='share of images that may be unreadable (default: 0.01); up to '
        'three images always may, unless the share is 0',
    )
    args = parser.parse_args()
    if args.out.suffix not in ('.npz', '.safetensors'):
        parser.error(f'{args.out} must end in .npz or .safetensors')
    return args


def load_model(args: argparse.Namespace) -> torch.nn.Module:
    """Build the model without its tokenizer, which is not needed here."""
    config = Config.fromfile(find_config(args.config))
    config.model.pop('target_generator', None)
    torch.manual_seed(args.seed)
    random = args.checkpoint == 'random'
    given = random or is_packaged(args.checkpoint)
    if not given and not os.path.isfile(args.checkpoint):
        raise FileNotFoundError(
            f"there is no checkpoint {args.checkpoint}; 'random' initializes "
            'the weights instead'
        )
    model = get_model(config, pretrained=False if random else args.checkpoint)
    if random:
        model.init_weights()
    return model.to(args.device)


def load_images(args: argparse.Namespace, side: int) -> DataLoader:
    """Load center crops of all images below the root, sorted by name."""
    short = round(side / args.crop_ratio)
    backend = dict(backend='pillow', interpolation='bicubic')
    dataset = FolderDataset(
        str(args.root),
        test_mode=True,
        max_unreadable=args.max_unreadable,
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
        SkipUnreadable(dataset),
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        collate_fn=collate,
    )


class SkipUnreadable(Dataset):
    """Returns the reason instead of an image that cannot be read."""

    def __init__(self, dataset: FolderDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, dict | str]:
        try:
            return index, self.dataset[index]
        except UnreadableImageError as error:
            return index, f'{error.path} ({error.reason})'


def collate(items: list[tuple[int, dict | str]]) -> dict:
    """Collate the images that could be read.

    Args:
        items: Index and image, or index and reason, of each item.

    Returns:
        The batch. ``indices`` are the indices of its images, ``skipped`` the
        reasons for the unreadable ones.
    """
    good = {i: item for i, item in items if isinstance(item, dict)}
    return dict(
        indices=list(good),
        skipped=[item for _, item in items if isinstance(item, str)],
        **(default_collate(list(good.values())) if good else {}),
    )


class Progress:
    """Iterates over batches, and records which images were read."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.indices: list[int] = []
        self.skipped: list[str] = []

    def batches(self, model: torch.nn.Module) -> Iterator[dict]:
        """Yield the batches that have an image, as the model takes them.

        Raises:
            ValueError: If too many images are unreadable.
        """
        dataset = self.loader.dataset
        total, allowed = len(dataset), dataset.dataset.allowed_unreadable
        bar = ProgressBar(total, file=sys.stderr)
        for batch in self.loader:
            indices, skipped = batch.pop('indices'), batch.pop('skipped')
            self.indices += indices
            self.skipped += skipped
            if len(self.skipped) > allowed:
                raise ValueError(
                    f'too many unreadable images: more than {allowed} of '
                    f'{total}, the first is {self.skipped[0]}; repair or '
                    'remove them, or raise --max-unreadable'
                )
            if indices:
                # The preprocessor of CAE expects two views.
                if hasattr(model.data_preprocessor, 'second_mean'):
                    batch['inputs'] = [batch['inputs'], batch['inputs']]
                yield batch
            bar.update(len(indices) + len(skipped))
        print(file=sys.stderr)
        if not self.indices:
            raise ValueError(
                f'none of {total} images can be read: {self.skipped[0]}'
            )


def class_labels(
    paths: list[str], root: Path
) -> tuple[np.ndarray, list[str]] | None:
    """Return labels and sorted class names; None if there are no folders."""
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
        progress = Progress(loader)
        features = extract_features(model, progress.batches(model), args.pool)
    info = loader.dataset.dataset.get_data_info
    paths = [info(i)['img_path'] for i in progress.indices]
    arrays = dict(features=features.numpy())
    lists = dict(paths=[os.path.relpath(p, args.root) for p in paths])
    labeled = class_labels(paths, args.root)
    if labeled is not None:
        arrays['labels'], lists['classes'] = labeled
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.out.suffix == '.npz':
        np.savez(args.out, **arrays, **lists)
    else:
        metadata = {key: json.dumps(value) for key, value in lists.items()}
        save_file(arrays, args.out, metadata)
    count = f'{len(lists["classes"])} classes' if labeled else 'no labels'
    print(
        f'{len(features)} images, {features.shape[1]} numbers each '
        f'({args.pool}, {side} px, last block), {count} -> {args.out}'
    )
    print(
        f'Unreadable images: {len(progress.skipped)} of {len(loader.dataset)}'
    )
    for name in progress.skipped:
        print(f'  left out: {name}')


if __name__ == '__main__':
    run(main)
