# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure the models of ``make_weights.py`` on images they did not see."""

from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import set_random_seed
from mmpretrain import get_model

from mmcae.apis import extract_features, pool_tokens, reconstruct
from mmcae.datasets import FolderDataset
from mmcae.evaluation import probe
from mmcae.evaluation.knn import knn_top1
from mmcae.models import CAE, DVAE

BATCH_SIZE = 200
NEIGHBORS = 10


class Images:
    """All images below a folder, whole, at one size.

    Args:
        folder: A folder with one subfolder for each class.
        size: Side of the images in pixels.

    Attributes:
        labels: The class of each image, ``(N,)``.
    """

    def __init__(self, folder: Path, size: int) -> None:
        pipeline = [
            dict(type='mmcae.LoadImage'),
            dict(
                type='mmpretrain.Resize',
                scale=(size, size),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='mmpretrain.PackInputs'),
        ]
        self.dataset = FolderDataset(
            str(folder), test_mode=True, pipeline=pipeline
        )
        infos = map(self.dataset.get_data_info, range(len(self.dataset)))
        names = [Path(info['img_path']).parent.name for info in infos]
        classes = sorted(set(names))
        self.labels = torch.tensor([classes.index(name) for name in names])

    def batches(self, views: int) -> Iterator[dict]:
        """Yield batches for a model that takes one view, or two."""
        for batch in batches_of(self.dataset):
            if views == 2:
                batch['inputs'] = [batch['inputs'], batch['inputs']]
            yield batch


def batches_of(dataset: torch.utils.data.Dataset) -> Iterator[dict]:
    """Yield a dataset in batches, in its order."""
    for start in range(0, len(dataset), BATCH_SIZE):  # type: ignore[arg-type]
        end = min(start + BATCH_SIZE, len(dataset))  # type: ignore[arg-type]
        yield default_collate([dataset[i] for i in range(start, end)])


@torch.no_grad()
def measure_tokenizer(config: Path, weights: Path, test: Path) -> dict:
    """Tokenize and draw the test images.

    Returns:
        ``psnr`` in dB, ``codes_used``, and the ``tokens``, ``(N, L)``.
    """
    cfg = Config.fromfile(config)
    model = get_model(cfg, pretrained=str(weights))
    tokens, errors = [], []
    for batch in Images(test, cfg.pipeline[1].size).batches(views=1):
        data = model.data_preprocessor(batch)
        for sample in model.predict(data['inputs'], data['data_samples']):
            tokens.append(sample.tokens)
            errors.append(sample.squared_error)
    mse = torch.stack(errors).mean()
    found = torch.stack(tokens)
    return dict(
        psnr=round(-10 * mse.log10().item(), 2),
        codes_used=found.unique().numel(),
        tokens=found,
    )


@torch.no_grad()
def measure_cae(
    config: Path, weights: Path, tokenizer: Path, train: Path, test: Path
) -> dict:
    """Probe the encoder, and predict the tokens of masked patches.

    Returns:
        ``knn`` and ``logistic``: accuracy in % on the test images, with the
        labels of all training images; ``tokens_right``: the share of masked
        patches of test images whose token is predicted correctly, in %; and
        the ``features`` of the test images, ``(N, D)``.
    """
    cfg = Config.fromfile(config)
    cfg.model.target_generator.init_cfg.checkpoint = str(tokenizer)
    model = get_model(cfg, pretrained=str(weights))
    splits = [
        Images(path, cfg.model.backbone.img_size) for path in (train, test)
    ]
    features = [extract_features(model, s.batches(views=2)) for s in splits]
    labels = [split.labels for split in splits]
    pairs = [x for pair in zip(features, labels, strict=True) for x in pair]
    arrays = [x.numpy() for x in pairs]
    scores = probe(*arrays, num_labels=len(arrays[0]))
    return dict(
        knn=_percent(knn_top1(*pairs, k=NEIGHBORS, temperature=0.07)),
        logistic=_percent(scores['logistic']),
        tokens_right=_percent(_tokens_right(model, cfg, test)),
        features=features[1],
    )


def _tokens_right(model: torch.nn.Module, cfg: Config, test: Path) -> float:
    """The share of masked patches whose token is predicted correctly."""
    dataset_cfg = cfg.train_dataloader.dataset.copy()
    dataset_cfg.update(data_root=str(test))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(dataset_cfg)
    set_random_seed(0)  # of the masks
    right = 0.0
    for batch in batches_of(dataset):
        data = model.data_preprocessor(batch)
        mask = torch.stack([sample.mask for sample in data['data_samples']])
        result = reconstruct(model, *data['inputs'], mask.flatten(1))
        right += result.accuracy * len(mask)
    return right / len(dataset)


@torch.no_grad()
def measure_classifier(config: Path, weights: Path, test: Path) -> dict:
    """Classify the test images.

    Returns:
        ``accuracy`` in %, and the ``features``: the classes' scores,
        ``(N, C)``.
    """
    cfg = Config.fromfile(config)
    model = get_model(cfg, pretrained=str(weights))
    images = Images(test, cfg.model.backbone.img_size)
    logits = torch.cat(
        [
            model(model.data_preprocessor(batch)['inputs'])
            for batch in images.batches(views=1)
        ]
    )
    right = logits.argmax(1) == images.labels
    return dict(
        accuracy=_percent(right.float().mean().item()), features=logits
    )


@torch.no_grad()
def example_output(model: torch.nn.Module, side: int) -> list[float]:
    """Eight outputs for a fixed image: a ramp from 0 to 1.

    A test compares them with those that were recorded with the weights.

    Args:
        model: A tokenizer, a CAE or a classifier with loaded weights.
        side: Side of the image in pixels.

    Returns:
        The first numbers of the logits of the first patch, of the mean patch
        token, or of the scores of the classes.
    """
    image = torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)
    if isinstance(model, DVAE):
        output = model(image)[0, :, 0, 0]
    elif isinstance(model, CAE):
        output = pool_tokens(model.extract_feat(image)[0])[0]
    else:
        output = model(image)[0]
    return [round(value, 7) for value in output[:8].tolist()]


def _percent(share: float) -> float:
    return round(100 * share, 2)
