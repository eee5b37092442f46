# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A CAE that trains in one second, with new views in every epoch."""

import itertools
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS

from mmcae.checkpoint.reading import write_weights
from mmcae.launch.runner import build_runner

DVAE = dict(
    type='mmcae.DVAE', vocab_size=24, downsample=8, hidden_channels=(4, 4, 8)
)
DALLE = dict(type='mmcae.DALLEEncoder', n_hid=4, vocab_size=32)

_names = itertools.count()


def tokenizer(folder: Path, cfg: dict) -> dict:
    """Return the config of a tokenizer whose weights are in a file."""
    file = folder / f'{cfg["type"]}.pth'
    if not file.exists():
        torch.manual_seed(0)
        write_weights(MODELS.build(cfg).state_dict(), file)
    return dict(cfg, init_cfg=dict(type='Pretrained', checkpoint=str(file)))


def config(photos: Path, work_dir: Path, epochs: int = 3, **options) -> Config:
    """Return a complete config; ``__`` in an option's name means a dot."""
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(work_dir),
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
                        embed_dims=16,
                        num_layers=1,
                        num_heads=2,
                        feedforward_channels=32,
                    ),
                    img_size=32,
                    patch_size=8,
                    drop_path_rate=0.1,
                    layer_scale_init_value=0.1,
                ),
                neck=dict(
                    type='mmcae.CAENeck',
                    num_classes=24,
                    embed_dims=16,
                    num_heads=2,
                    regressor_depth=1,
                    decoder_depth=1,
                    layer_scale_init_value=0.1,
                ),
                head=dict(
                    type='mmcae.CAEHead',
                    loss=dict(type='mmcae.CAELoss', lambd=1.0),
                ),
                target_generator=tokenizer(photos.parent, DVAE),
            ),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type='mmcae.SeededSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='mmcae.FolderDataset',
                    data_root=str(photos),
                    pipeline=[
                        dict(type='mmcae.LoadImage'),
                        dict(type='mmcae.RandomFlip', prob=0.5),
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
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            custom_hooks=[dict(type='mmcae.IterationSeedHook')],
            randomness=dict(seed=0),
        )
    )
    cfg.merge_from_dict(
        {key.replace('__', '.'): value for key, value in options.items()}
    )
    return cfg


class Recorder(Hook):
    """Records the loss of each iteration."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.losses.append(outputs['loss'].item())


def train(cfg: Config) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train; return the losses and the final weights."""
    cfg.experiment_name = f'token_run_{next(_names)}'
    runner = build_runner(cfg)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    weights = {k: v.clone() for k, v in runner.model.state_dict().items()}
    return recorder.losses, weights


def assert_equal(one: tuple, other: tuple, first: int = 0) -> None:
    """Require equal bits of losses, from ``first`` on, and of weights."""
    assert one[0][first:] == other[0]
    assert one[1].keys() == other[1].keys()
    for key, value in one[1].items():
        assert torch.equal(value, other[1][key]), key
