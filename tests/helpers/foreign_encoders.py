# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tiny vision transformers of other libraries, with random weights.

`python tests/helpers/foreign_encoders.py FOLDER` records those of
transformers in files of a few kB, so that the tests need no transformers.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, DEPTH, HEADS, SIDE, PATCH = 8, 2, 2, 12, 4


#: What `record` wrote, by transformers 5.24.
DATA = Path(__file__).parents[1] / 'data' / 'start'


def recorded_features(kind: str) -> Tensor:
    """Features of a recorded model, for `images`."""
    from safetensors.torch import load_file

    return load_file(DATA / kind.lower() / 'features.safetensors')['features']


def images(seed: int = 0, side: int = SIDE) -> Tensor:
    """Random images ``(2, 3, side, side)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, side, side, generator=generator)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter values that matter, biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            is_scale = value.ndim == 1 and not name.endswith('bias')
            value.copy_(1 + 0.2 * noise if is_scale else 0.2 * noise)
    model.eval()
    return model


def timm_vit(**kwargs: Any) -> nn.Module:
    """timm's ``VisionTransformer``."""
    from timm.models.vision_transformer import VisionTransformer

    return randomize(VisionTransformer(**_timm_sizes(), **kwargs))


def timm_beit(**kwargs: Any) -> nn.Module:
    """timm's ``Beit``."""
    from timm.models.beit import Beit

    return randomize(Beit(**_timm_sizes(), **kwargs))


def _timm_sizes() -> dict[str, Any]:
    return dict(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=2,
        num_classes=3,
    )


def mmpretrain_model(kind: str, **kwargs: Any) -> nn.Module:
    """A backbone of mmpretrain."""
    from mmpretrain.registry import MODELS

    arch = dict(
        embed_dims=WIDTH,
        num_layers=DEPTH,
        num_heads=HEADS,
        feedforward_channels=2 * WIDTH,
    )
    sizes = dict(arch=arch, img_size=SIDE, patch_size=PATCH)
    model = MODELS.build(dict(type=f'mmpretrain.{kind}', **sizes, **kwargs))
    return randomize(model)


def transformers_model(kind: str, **kwargs: Any) -> nn.Module:
    """A model of transformers, such as ``'ViT'``."""
    import transformers

    config = getattr(transformers, f'{kind}Config')(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
        **kwargs,
    )
    name = 'ViTMAEForPreTraining' if kind == 'ViTMAE' else f'{kind}Model'
    return randomize(getattr(transformers, name)(config))


#: Models of transformers that are recorded, with their arguments.
RECORDED: dict[str, dict[str, Any]] = {
    'ViT': {},
    'ViTMAE': dict(
        mask_ratio=0.0,
        decoder_hidden_size=4,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=1,
        decoder_intermediate_size=4,
    ),
    'Beit': dict(
        use_absolute_position_embeddings=True, use_mean_pooling=False
    ),
    'Dinov2': dict(mlp_ratio=2),
}


def transformers_features(kind: str, model: nn.Module) -> Tensor:
    """Normalized tokens of `images`, ``(2, 1 + L, D)``."""
    extra = {}
    if kind == 'ViTMAE':
        # It shuffles the patches by this noise, even if it masks none.
        length = (SIDE // PATCH) ** 2
        extra['noise'] = torch.arange(length).float().expand(2, length)
        model = model.vit
    with torch.no_grad():
        return model(images(), **extra).last_hidden_state


def record(folder: Path) -> None:
    """Write the files of tests/data/start."""
    from safetensors.torch import save_file

    for kind, kwargs in RECORDED.items():
        model = transformers_model(kind, **kwargs)
        target = folder / kind.lower()
        model.save_pretrained(target)
        features = transformers_features(kind, model)
        save_file({'features': features}, target / 'features.safetensors')
        (target / 'README.md').unlink(missing_ok=True)
        kept = json.loads((target / 'config.json').read_text())
        text = json.dumps(kept, indent=1, sort_keys=True)
        (target / 'config.json').write_text(f'{text}\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    record(parser.parse_args().folder)
