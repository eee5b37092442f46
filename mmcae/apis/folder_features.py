# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Features of all images in a folder, and the file that keeps them."""

import copy
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from mmengine.utils import ProgressBar
from mmpretrain import get_model
from safetensors.numpy import save_file
from torch.utils.data import DataLoader, Dataset

from mmcae.apis.features import extract_features
from mmcae.apis.image_views import loading_settings
from mmcae.checkpoint.hub_file import is_hub_address
from mmcae.checkpoint.packaged import is_packaged
from mmcae.config.search_path import find_config
from mmcae.datasets import FolderDataset
from mmcae.datasets.transforms.load_image import UnreadableImageError


@dataclass
class FolderFeatures:
    """What `extract_folder` returns.

    Attributes:
        features: ``(N, D)``, float32.
        paths: Of the N images, relative to the folder.
        labels: ``(N,)``, the index of each image's class; None without
            folders of classes.
        classes: Their names, sorted; None without them.
        skipped: Each unreadable image, with the reason.
        side: Side of the images that the encoder got, in pixels.
    """

    features: np.ndarray
    paths: list[str]
    labels: np.ndarray | None
    classes: list[str] | None
    skipped: list[str]
    side: int

    def write(self, path: Path) -> None:
        """Write the features, labels, classes and paths.

        Args:
            path: Ends in ``.npz`` or ``.safetensors``.
        """
        arrays = dict(features=self.features)
        lists = dict(paths=self.paths)
        if self.labels is not None and self.classes is not None:
            arrays['labels'], lists['classes'] = self.labels, self.classes
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.npz':
            np.savez(path, **arrays, **lists)  # type: ignore[arg-type]
        else:
            texts = {key: json.dumps(value) for key, value in lists.items()}
            save_file(arrays, path, texts)


def extract_folder(
    config: str | Path | Config,
    checkpoint: str,
    root: Path,
    pool: str = 'mean',
    crop_ratio: float = 0.875,
    batch_size: int = 64,
    num_workers: int = 4,
    device: str | None = None,
    seed: int = 0,
    max_unreadable: float = 0.01,
    on_tokens: Callable[[torch.Tensor], None] | None = None,
) -> FolderFeatures:
    """Encode center crops of all images below a folder, sorted by name.

    Args:
        config: Config of CAE or of a classifier with its encoder: a path,
            the name of a packaged config, or itself.
        checkpoint: In any format that mmcae reads; ``'random'`` initializes
            the weights instead.
        root: The folder. An image's class is its folder below it.
        pool: ``'mean'`` of the patch tokens, ``'cls'`` token, or ``'both'``.
        crop_ratio: Side of the crop divided by the short side of the resized
            image.
        batch_size: Images per batch.
        num_workers: Processes that load images; 0 loads in this one.
        device: Of the model; None takes a GPU if there is one.
        seed: Of ``'random'``.
        max_unreadable: Share of images that may be unreadable.
        on_tokens: Called with the class token and the normalized patches of
            each batch, ``(B, 1 + L, D)``, in the order of the features.

    Raises:
        FileNotFoundError: If there is no such checkpoint or folder.
        ValueError: If too many images are unreadable, or all.
    """
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = _load_model(config, checkpoint, seed)
        model.to(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        side = min(model.backbone.img_size)
        channels = model.backbone.patch_embed.projection.in_channels
        loading = loading_settings(model._config, channels)
        dataset = _make_dataset(
            root, side, crop_ratio, max_unreadable, loading
        )
        loader = DataLoader(
            SkipUnreadable(dataset),
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=collate,
        )
        progress = Progress(loader, dataset)
        features = extract_features(
            model, progress.batches(model), pool, on_tokens
        )
    paths = [dataset.get_data_info(i)['img_path'] for i in progress.indices]
    labels, classes = class_labels(paths, root) or (None, None)
    return FolderFeatures(
        features.numpy(),
        [os.path.relpath(path, root) for path in paths],
        labels,
        classes,
        progress.skipped,
        side,
    )


def _load_model(
    config: str | Path | Config, checkpoint: str, seed: int
) -> Any:
    """Build the model without its tokenizer, which is not needed here."""
    if isinstance(config, Config):
        config = copy.deepcopy(config)
    else:
        config = Config.fromfile(find_config(config))
    config.model.pop('target_generator', None)
    torch.manual_seed(seed)
    random = checkpoint == 'random'
    address = is_packaged(checkpoint) or is_hub_address(checkpoint)
    given = random or address
    if not given and not os.path.isfile(checkpoint):
        raise FileNotFoundError(
            f"there is no checkpoint {checkpoint}; 'random' initializes the "
            'weights instead'
        )
    model = get_model(config, pretrained=False if random else checkpoint)
    if random:
        model.init_weights()
    return model


def _make_dataset(
    root: Path,
    side: int,
    crop_ratio: float,
    max_unreadable: float,
    loading: dict[str, Any],
) -> FolderDataset:
    backend = dict(backend='pillow', interpolation='bicubic')
    return FolderDataset(
        str(root),
        test_mode=True,
        max_unreadable=max_unreadable,
        pipeline=[
            dict(type='mmcae.LoadImage', **loading),
            dict(
                type='mmcae.ResizeEdge',
                scale=round(side / crop_ratio),
                edge='short',
                **backend,
            ),
            dict(type='mmpretrain.CenterCrop', crop_size=side),
            dict(type='mmpretrain.PackInputs'),
        ],
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

    def __init__(self, loader: DataLoader, dataset: FolderDataset) -> None:
        self.loader = loader
        self.dataset = dataset
        self.indices: list[int] = []
        self.skipped: list[str] = []

    def batches(self, model: torch.nn.Module) -> Iterator[dict]:
        """Yield the batches that have an image, as the model takes them.

        Raises:
            ValueError: If too many images are unreadable.
        """
        total = len(self.dataset)
        allowed = self.dataset.allowed_unreadable
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
