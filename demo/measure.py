# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Probe the demo's checkpoints, and draw what they predict."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import load_checkpoint, set_random_seed
from torch.utils.data import DataLoader, default_collate

from mmcae.apis import extract_features, reconstruct_batch
from mmcae.evaluation import probe
from mmcae.models import CAE
from mmcae.registry import MODELS
from mmcae.visualization import paint_masked, picture_table, to_png

LABEL_COUNTS = (100, 1400)
NUM_PICTURES = 10


def run_config(work: Path, seed: int) -> Config:
    """The config that ``tools/train.py`` wrote into the folder of a run."""
    (path,) = (work / f'cae_seed{seed}').glob('*.py')
    return Config.fromfile(path)


def build_model(config: Config, seed: int) -> CAE:
    """A model with random weights, and with its trained tokenizer."""
    set_random_seed(seed)
    model = MODELS.build(config.model)
    model.init_weights()
    return model.eval()


def load_split(config: Config, folder: Path) -> tuple[DataLoader, np.ndarray]:
    """Images of a split in the order of their file names, and their labels."""
    dataset_cfg = config.train_dataloader.dataset.copy()
    dataset_cfg['data_root'] = str(folder)
    dataset = DATASETS.build(dataset_cfg)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    labels = np.array([int(Path(p).stem.split('_')[1]) for p in paths])

    def collate(batch: list[dict]) -> dict:
        return dict(
            inputs=default_collate([sample['inputs'] for sample in batch]),
            data_samples=[sample['data_samples'] for sample in batch],
        )

    return DataLoader(dataset, batch_size=200, collate_fn=collate), labels


def pixels_of(folder: Path) -> np.ndarray:
    """The 8 x 8 pixels of the same images in the same order, ``(N, 64)``."""
    from PIL import Image

    files = sorted(folder.glob('*.png'))
    return np.stack(
        [np.asarray(Image.open(f), dtype=np.float32).ravel() for f in files]
    )


def draw_pictures(model: CAE, loader: DataLoader, path: Path) -> float:
    """Draw test images, masks and predictions.

    Returns:
        The share of masked patches of which the token is predicted right.
    """
    batch = next(iter(loader))
    data = model.data_preprocessor(batch)
    images, token_images = data['inputs']
    mask = torch.stack([s.mask for s in data['data_samples']]).bool()
    result = reconstruct_batch(model, images, token_images, mask.flatten(1))

    def pick(x: torch.Tensor) -> np.ndarray:
        return x[:NUM_PICTURES].permute(0, 2, 3, 1).numpy()

    original = pick(token_images)
    rows = {
        'image': original,
        'what the encoder sees': paint_masked(
            original, mask[:NUM_PICTURES].numpy()
        ),
        'CAE: masked patches predicted,\ndrawn by the tokenizer': pick(
            result.picture
        ),
        'the tokenizer itself\n(the best possible)': pick(
            result.tokenizer_picture
        ),
    }
    path.write_bytes(to_png(picture_table(rows)))
    return result.accuracy


def measure(
    work: Path,
    data: Path,
    seeds: list[int],
    checkpoints: list[Path],
) -> dict:
    """Probe raw pixels, random encoders and pretrained encoders.

    Returns:
        A dict with ``probes``, which has the accuracies of both probes, one per
        seed, for each kind of features and number of labels;
        ``token_accuracy`` on test images, one per seed; and ``seeds``.
    """
    torch.set_num_threads(1)
    labels: dict[str, np.ndarray] = {}
    features: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
        'raw pixels': [(pixels_of(data / 'train'), pixels_of(data / 'test'))],
        'random encoder': [],
        'pretrained encoder': [],
    }
    token_accuracy = []
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for seed, checkpoint in zip(seeds, checkpoints, strict=True):
            config = run_config(work, seed)
            model = build_model(config, seed)
            loaders = {}
            for split in ('train', 'test'):
                loaders[split], labels[split] = load_split(
                    config, data / split
                )

            def encode(model=model, loaders=loaders):
                train, test = (
                    extract_features(model, loaders[split]).numpy()
                    for split in ('train', 'test')
                )
                return train, test

            features['random encoder'].append(encode())
            load_checkpoint(model, str(checkpoint), strict=True)
            features['pretrained encoder'].append(encode())
            np.random.seed(seed)
            token_accuracy.append(
                draw_pictures(
                    model, loaders['test'], work / f'pictures_seed{seed}.png'
                )
            )
    probes = {
        name: {
            str(count): [
                probe(train, labels['train'], test, labels['test'], count)
                for train, test in sets
            ]
            for count in LABEL_COUNTS
        }
        for name, sets in features.items()
    }
    return dict(
        probes=probes, token_accuracy=token_accuracy, seeds=list(seeds)
    )
