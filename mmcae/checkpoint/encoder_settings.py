# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The sizes and the normalization of an encoder, read from its checkpoint.

Configs for one's own data ask for them here, so that a user types none of
them:

    from mmcae.checkpoint.encoder_settings import encoder_settings
    encoder = encoder_settings(checkpoint)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcae.checkpoint.config_literals import config_literals
from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.normalization import IMAGENET, recorded_normalization
from mmcae.checkpoint.official import convert_if_official
from mmcae.checkpoint.packaged import local_file
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.checkpoint.weights import meta_of, weights_of
from mmcae.config.pipelines import training_transform
from mmcae.config.search_path import list_configs


@dataclass(frozen=True)
class EncoderSettings:
    """What a downstream model must know about an encoder.

    Attributes:
        width: Width ``D`` of a token.
        num_layers: Number of blocks.
        num_heads: Attention heads of a block.
        feedforward_channels: Width inside the feed-forward network.
        image_size: Side of the images of the pretraining, in pixels.
        patch_size: Side of a patch, in pixels.
        layer_scale: Initial value of the layer scales; 0 if there are none.
        mean: Of the pixels of the pretraining, RGB, from 0 to 255.
        std: Their standard deviation.
        is_recorded: Whether the checkpoint says the normalization; otherwise
            it is ImageNet's.
        channels: Channels of its images.
        value_range: Pixel values that became 0 and 255, see
            `mmcae.LoadImage`; None for 8 bits.
    """

    width: int
    num_layers: int
    num_heads: int
    feedforward_channels: int
    image_size: int
    patch_size: int
    layer_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_recorded: bool = True
    channels: int = 3
    value_range: Any = None

    @property
    def arch(self) -> dict[str, int]:
        """The sizes as ``arch`` of `CAEViT`."""
        return dict(
            embed_dims=self.width,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            feedforward_channels=self.feedforward_channels,
        )

    @property
    def out_indices(self) -> tuple[int, ...]:
        """Four blocks whose outputs are features of a dense model.

        The authors take blocks 4, 6, 8 and 12 of 12 (from 1), and 8, 12, 16
        and 24 of 24: a third, a half, two thirds, and the last. An encoder of
        four blocks gives all of them.
        """
        last = self.num_layers
        if last <= 4:
            return tuple(min(i, last - 1) for i in range(4))
        return last // 3 - 1, last // 2 - 1, 2 * last // 3 - 1, last - 1


#: The sizes of the recipes that `mmcae pretrain` follows.
USUAL = {
    'tiny': EncoderSettings(
        *(96, 4, 3, 384, 48, 8, 0.1),
        mean=(115.0, 110.0, 102.0),
        std=(71.0, 69.0, 71.0),
    ),
    'small': EncoderSettings(
        *(384, 12, 12, 1536, 224, 16, 0.1),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
}


def encoder_settings(
    checkpoint: str | os.PathLike,
    otherwise: str | None = None,
    any_channels: bool = False,
) -> EncoderSettings:
    """Read the sizes and the normalization of a checkpoint's encoder.

    Args:
        checkpoint: In any format that mmcae reads, or ``mmcae://NAME``.
        otherwise: Which of `USUAL` to return if there is no such file. A
            packaged config is also read before its checkpoint is named; the
            training reports a missing file later, when it loads the weights.
        any_channels: Whether the caller can use other images than RGB.

    Raises:
        FileNotFoundError: If there is no such file, and no ``otherwise``.
        ValueError: If it has no CAE encoder, or one for images that the
            caller cannot use, or does not say how these are normalized.
    """
    try:
        path = local_file(checkpoint)
    except FileNotFoundError:
        if otherwise is None:
            raise
        return USUAL[otherwise]
    content = convert_if_official(read_checkpoint(path))
    tensors = {
        key.removeprefix('module.'): value
        for key, value in weights_of(content).items()
    }
    config = _recorded_config(meta_of(content))
    recorded = _backbone(config)
    args = encoder_args(tensors, _num_heads(recorded))
    channels = args['in_channels']
    if channels != 3 and not any_channels:
        raise ValueError(
            f'the encoder in {checkpoint} reads {channels} channels; the '
            'configs of segmentation and detection read RGB images'
        )
    found = recorded_normalization(content, channels)
    if channels != 3 and found is None:
        raise ValueError(
            f'{checkpoint} does not say how its {channels} channels are '
            'normalized: give the checkpoint of the pretraining'
        )
    normalization = found or IMAGENET
    scale = recorded.get('layer_scale_init_value')
    if not isinstance(scale, int | float) or not scale:
        scale = args['layer_scale_init_value']
    return EncoderSettings(
        width=args['arch']['embed_dims'],
        num_layers=args['arch']['num_layers'],
        num_heads=args['arch']['num_heads'],
        feedforward_channels=args['arch']['feedforward_channels'],
        image_size=args['img_size'][0],
        patch_size=args['patch_size'][0],
        layer_scale=scale,
        mean=_in_bytes(normalization['mean']),
        std=_in_bytes(normalization['std']),
        is_recorded=found is not None,
        channels=channels,
        value_range=training_transform(config, 'LoadImage').get('value_range'),
    )


def _recorded_config(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the training: the recorded, or that of a named recipe."""
    config: Mapping[str, Any] = config_literals(meta.get('cfg'))
    recipe = meta.get('recipe')
    if not config and isinstance(recipe, str):
        # Packaged weights name a config of this package.
        packaged = {path.stem: path for path in list_configs()}
        path = packaged.get(Path(recipe).stem)
        config = Config.fromfile(path) if path else {}
    return config


def _backbone(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The encoder in a config; empty if there is none."""
    model = config.get('model')
    part = model.get('backbone') if isinstance(model, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _num_heads(backbone: Mapping[str, Any]) -> int | None:
    """The number of heads that a config states, if it does."""
    arch = backbone.get('arch')
    heads = arch.get('num_heads') if isinstance(arch, Mapping) else None
    return heads if isinstance(heads, int) else None


def _in_bytes(values: list[float]) -> tuple[float, ...]:
    return tuple(round(255 * value, 3) for value in values)
