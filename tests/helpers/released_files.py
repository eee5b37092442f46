# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make the files of a version that later versions must be able to read.

`tests/data/released/VERSION.zip` keeps, for each released version, what a
tiny training of it wrote: a tokenizer, a checkpoint after the first of two
epochs, a token store, and the losses of both epochs. The tests load all of
them with the present code (`tests/test_checkpoint/test_released_files.py`).

Before a release, make the files of the new version with its own code, and
commit them:

    python tests/helpers/released_files.py tests/data/released/VERSION.zip

This file only uses names that every version has, so it also runs with older
code: PYTHONPATH=OLD_CHECKOUT python tests/helpers/released_files.py A.zip
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from PIL import Image

import mmcae
import mmcae.engine

TOKENIZER = dict(
    type='mmcae.DVAE', vocab_size=24, downsample=8, hidden_channels=(4, 4, 8)
)
EPOCHS = 2
#: What is kept: the losses and versions, and the files; with the SHA-256 too.
KEPT = ('facts.json', 'tokenizer.pth', 'epoch_1.pth', 'store')


def make_images(folder: Path) -> None:
    """Write eight images; their bytes do not depend on any library."""
    folder.mkdir(parents=True)
    rng = np.random.RandomState(0)  # its numbers are the same for ever
    for number in range(8):
        pixels = rng.randint(0, 256, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.bmp')


def make_config(folder: Path, epochs: int = EPOCHS) -> Config:
    """Configure the training.

    Args:
        folder: Has ``photos`` and ``tokenizer.pth``, and gets the rest.
        epochs: How many to train.
    """
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(folder),
            token_store=str(folder / 'store'),
            model=dict(
                type='mmcae.CAE',
                data_preprocessor=dict(
                    type='mmpretrain.TwoNormDataPreprocessor',
                    mean=[127.5] * 3,
                    std=[64.0] * 3,
                    second_mean=[0.0] * 3,
                    second_std=[255.0] * 3,
                    to_rgb=True,
                ),
                backbone=dict(
                    type='mmcae.CAEPretrainViT',
                    arch=dict(
                        embed_dims=8,
                        num_layers=1,
                        num_heads=1,
                        feedforward_channels=8,
                    ),
                    img_size=32,
                    patch_size=8,
                    layer_scale_init_value=0.1,
                ),
                neck=dict(
                    type='mmcae.CAENeck',
                    num_classes=24,
                    embed_dims=8,
                    num_heads=1,
                    regressor_depth=1,
                    decoder_depth=1,
                    layer_scale_init_value=0.1,
                ),
                head=dict(
                    type='mmcae.CAEHead',
                    loss=dict(type='mmcae.CAELoss', lambd=1.0),
                ),
                target_generator=dict(
                    TOKENIZER,
                    init_cfg=dict(
                        type='Pretrained',
                        checkpoint=str(folder / 'tokenizer.pth'),
                    ),
                ),
            ),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                # Each epoch has the same views, so each can use the store.
                sampler=dict(type='mmcae.SeededSampler', view_pool=1),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='mmcae.FolderDataset',
                    data_root=str(folder / 'photos'),
                    pipeline=[
                        dict(type='mmcae.LoadImage'),
                        dict(
                            type='mmcae.TwoViewRandomResizedCrop',
                            size=32,
                            second_size=32,
                        ),
                        dict(
                            type='mmcae.BlockMaskGenerator',
                            input_size=4,
                            num_masking_patches=8,
                            min_num_patches=2,
                        ),
                        dict(type='mmpretrain.PackInputs'),
                    ],
                ),
            ),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2)),
            param_scheduler=dict(type='CosineAnnealingLR', T_max=EPOCHS),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            custom_hooks=[dict(type='mmcae.IterationSeedHook')],
            randomness=dict(seed=0),
        )
    )
    if hasattr(mmcae.engine, 'CheckpointHook'):
        cfg.default_hooks = dict(
            checkpoint=dict(type='mmcae.CheckpointHook', interval=1)
        )
        cfg.train_cfg.pop('by_epoch')
        cfg.train_cfg.type = 'mmcae.EpochBasedTrainLoop'
    return cfg


class Losses(Hook):
    """Records the loss of each iteration."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        self.values.append(float((outputs or {})['loss'].detach()))


def train(cfg: Config) -> list[float]:
    """Train; return the loss of each iteration."""
    try:
        from mmcae.launch.runner import build_runner
    except ImportError:  # before the launch room
        from mmcae.apis.launch import build_runner  # type: ignore
    runner = build_runner(cfg)
    losses = Losses()
    runner.register_hook(losses)
    runner.train()
    return losses.values


def main() -> None:
    target = Path(sys.argv[1])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / 'photos')
        torch.manual_seed(0)
        weights = MODELS.build(TOKENIZER).state_dict()
        torch.save(dict(state_dict=weights), folder / 'tokenizer.pth')
        facts = dict(
            mmcae=mmcae.__version__,
            torch=torch.__version__,
            mmengine=mmengine.__version__,
            losses=train(make_config(folder)),
        )
        (folder / 'facts.json').write_text(json.dumps(facts, indent=2) + '\n')
        with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob('*')):
                name = path.relative_to(folder)
                if name.parts[0].startswith(KEPT) and path.is_file():
                    archive.write(path, name)


if __name__ == '__main__':
    main()
