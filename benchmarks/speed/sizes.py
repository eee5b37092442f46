# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Sizes of the models that are measured, from our recipes."""

import copy
from dataclasses import dataclass

from mmengine.config import Config, ConfigDict

import mmcae  # noqa: F401
from mmcae.config.search_path import find_config
from mmcae.models.backbones.arch import arch_settings

RECIPES = dict(
    tiny='cae_tiny-p8_1xb32-coslr-80e_digits-32px',
    small='cae_beit-small-p16_8xb256-amp-coslr-300e_in1k',
    base='cae_beit-base-p16_8xb256-amp-coslr-300e_in1k',
    large='cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k',
)


@dataclass(frozen=True)
class Size:
    """A recipe with one image size.

    Attributes:
        model: Config of our model. It has no drop path, so that every
            implementation does the same work.
        optim_wrapper: Config of our optimizer wrapper.
        grid: Number of patches along a side of the image.
        image_size: Side of the image in pixels.
        token_size: Side of the tokenizer's image in pixels.
        num_masked: Number of masked patches, half of all.
    """

    model: ConfigDict
    optim_wrapper: ConfigDict
    grid: int
    image_size: int
    token_size: int
    num_masked: int

    @property
    def arch(self) -> dict[str, int]:
        """Width, depth, heads and hidden width of the encoder."""
        return arch_settings(self.model.backbone.arch)


def load_size(
    arch: str, grid: int | None = None, tokenizer: str | None = None
) -> Size:
    """Read a recipe.

    Args:
        arch: One of `RECIPES`.
        grid: Number of patches along a side of the image. Defaults to the
            recipe's.
        tokenizer: Checkpoint of the tokenizer. Defaults to random weights,
            which take the same time.
    """
    cfg = copy.deepcopy(Config.fromfile(find_config(RECIPES[arch])))
    model = cfg.model
    patch = model.backbone.patch_size
    grid = grid or model.backbone.img_size // patch
    model.backbone.update(img_size=grid * patch, drop_path_rate=0.0)
    model.neck.drop_path_rate = 0.0
    # Batches are made as the model expects them.
    model.pop('data_preprocessor', None)
    model.target_generator.pop('init_cfg', None)
    if tokenizer is not None:
        model.target_generator.init_cfg = dict(
            type='Pretrained', checkpoint=tokenizer
        )
    downsample = model.target_generator.get('downsample', 8)
    return Size(
        model=model,
        optim_wrapper=cfg.optim_wrapper,
        grid=grid,
        image_size=grid * patch,
        token_size=grid * downsample,
        num_masked=grid * grid // 2,
    )
