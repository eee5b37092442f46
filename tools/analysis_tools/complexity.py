# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Count the parameters and the multiply-adds of a config's model.

Everything runs on PyTorch's meta device, which computes shapes but no values.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mmcae.models.layers import split_patches


class Part(NamedTuple):
    """One part of a model.

    Attributes:
        name: Name of the part, or of the step that it computes.
        parameters: Number of parameters; 0 if another part counts them.
        flops: Multiply-adds of one image; None if they cannot be counted.
        counted: Whether the sums include this part.
    """

    name: str
    parameters: int
    flops: int | None
    counted: bool = True


class Complexity(NamedTuple):
    """Size and cost of a model.

    Attributes:
        parameters: Number of parameters. For pretraining and tokenizers,
            only the trained ones (no tokenizer, no teacher, no position
            table); for other models, all.
        flops: Multiply-adds of one image, which OpenMMLab calls FLOPs,
            summed over the counted parts. None if they cannot be counted.
        parts: The parts of the model.
    """

    parameters: int
    flops: int | None
    parts: tuple[Part, ...]


def measure_complexity(cfg: Config) -> Complexity:
    """Count the parameters and multiply-adds of a config's model.

    The count covers matrix products, convolutions and attention in one
    forward pass of one image of the size that the config's pipeline gives.
    For pretraining and for tokenizers, that is the pass of a training step,
    without the target tokenizer. For other models it is inference; for
    detectors, with the largest number of proposals and masks of an image. A
    multiply-add counts once.

    Args:
        cfg: A config; it is not changed.

    Returns:
        The size and the cost of the model.
    """
    cfg = copy.deepcopy(cfg)
    model = build_on_meta(cfg)
    if hasattr(model, 'latent_target'):
        parts, parameters = _pretraining(model, cfg), _trained(model)
    elif hasattr(model, 'codebook'):
        parts, parameters = _tokenizer(model, cfg), _trained(model)
    elif hasattr(model, 'roi_head'):
        parts, parameters = _detector(model, cfg), _size(model)
    else:
        parts, parameters = _inference(model, cfg), _size(model)
    counts = [part.flops for part in parts if part.counted]
    known = [count for count in counts if count is not None]
    flops = sum(known) if len(known) == len(counts) else None
    return Complexity(parameters, flops, tuple(parts))


def build_on_meta(cfg: Config) -> BaseModel:
    """Build a config's model in evaluation mode, on the meta device."""
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    scope = cfg.get('default_scope', 'mmengine')
    with (
        torch.device('meta'),
        DefaultScope.overwrite_default_scope(scope),
    ):
        return MODELS.build(cfg.model).eval()


def _pretraining(model: Any, cfg: Config) -> list[Part]:
    """Count each step of `CAE.loss`."""
    packed = _packed_inputs(cfg)
    images, token_images = (_as_meta(view) for view in packed['inputs'])
    mask = packed['data_samples'].mask.flatten()[None].bool()
    grid = model.backbone.grid(images)
    split = split_patches(mask, grid[0] * grid[1]).to(images.device)
    neck, tokenizer = model.neck, model.target_generator
    num_visible, num_masked = split.visible.shape[1], split.masked.shape[1]
    patches, embed = _count(lambda: model.backbone.embed(images))
    encoded, encode = _count(lambda: model.backbone.encode(patches, split))
    visible, encode = encoded[:, 1:], encode + embed
    _, target = _count(lambda: model.latent_target(images, split, patches))
    latent, regress = _count(lambda: neck.regress(visible, split, grid))
    _, decode = _count(lambda: neck.decode(latent, split, grid))
    _, head = _count(lambda: neck.head(latent))
    decoder = _trained(neck.decoders, neck.norm_decoder)
    parts = [
        Part(
            f'encoder, {num_visible} visible', _trained(model.backbone), encode
        ),
        Part(f'target pass, {num_masked} masked', 0, target),
        Part('regressor', 0, regress),
        Part('decoder', decoder, decode - head),
        Part('head', _trained(neck.head), head),
    ]
    rest = _trained(neck) - sum(part.parameters for part in parts[3:])
    parts[2] = parts[2]._replace(parameters=rest)
    if tokenizer is not None:
        # Autocast does not support the meta device. Fake tensors are on the
        # CPU and have no storage either.
        with FakeTensorMode():
            tokenizer = MODELS.build(cfg.model.target_generator)
            view = torch.empty(token_images.shape)
            _, tokens = _count(lambda: tokenizer.tokenize(view))
        parts.append(Part('tokenizer', _size(tokenizer), tokens, False))
    return parts


def _tokenizer(model: Any, cfg: Config) -> list[Part]:
    """Count the encoder and the decoder of a discrete VAE."""
    images = _as_meta(_packed_inputs(cfg)['inputs'])
    logits, encode = _count(lambda: model(images))

    def decode() -> Tensor:  # from soft codes, as in training
        codes = logits.movedim(1, -1) @ model.codebook.weight
        return model.decoder(codes.movedim(-1, 1))

    return [
        Part('encoder', _size(model.encoder, model.to_logits), encode),
        Part(
            'decoder', _size(model.codebook, model.decoder), _count(decode)[1]
        ),
    ]


def _inference(model: Any, cfg: Config) -> list[Part]:
    """Count each direct child of a model in inference."""
    children = [
        (name, child)
        for name, child in model.named_children()
        if name not in ('data_preprocessor', 'auxiliary_head')
    ]
    unknown = [Part(name, _size(child), None) for name, child in children]
    if cfg.get('default_scope') == 'mmdet':
        # The operators of mmcv do not run on the meta device.
        return unknown
    size = getattr(model.data_preprocessor, 'size', None)
    if size is None:  # only mmseg's preprocessor has a size to pad to
        images = _as_meta(_packed_inputs(cfg, test=True)['inputs'])
    else:
        images = torch.empty(1, 3, *size, device='meta')
    counter = FlopCounterMode(display=False, depth=2)
    try:
        with counter:
            model(images, mode='tensor')
    except RuntimeError as error:
        if 'meta tensors' not in str(error):
            raise
        # A sweep, for example, compares values to find the best head.
        return unknown
    by_module = counter.get_flop_counts()
    root = type(model).__name__
    flops = [
        sum(by_module.get(f'{root}.{name}', {}).values()) // 2
        for name, _ in children
    ]
    # mmseg does not call its head as a module, so the counter does not
    # attribute the operations of the head, which is the last child.
    flops[-1] = counter.get_total_flops() // 2 - sum(flops[:-1])
    return [
        Part(name, _size(child), count)
        for (name, child), count in zip(children, flops, strict=True)
    ]


def _detector(model: Any, cfg: Config) -> list[Part]:
    """Count the encoder, the necks and the heads of a two-stage detector."""
    divisor = model.data_preprocessor.pad_size_divisor
    pixels = _packed_inputs(cfg, test=True)['inputs']
    size = [-(-side // divisor) * divisor for side in pixels.shape[1:]]
    images = torch.empty(1, 3, *size, device='meta')
    features, encode = _count(lambda: model.backbone(images))
    pyramid, resample = _count(lambda: model.neck(features))
    _, propose = _count(lambda: model.rpn_head(pyramid))
    parts = [
        Part('backbone', _size(model.backbone), encode),
        Part('neck', _size(model.neck), resample),
        Part('rpn_head', _size(model.rpn_head), propose),
    ]
    for name, stage in (('bbox', 'rpn'), ('mask', 'rcnn')):
        number = model.test_cfg[stage].max_per_img
        heads = _stages(getattr(model.roi_head, f'{name}_head'))
        extractors = getattr(model.roi_head, f'{name}_roi_extractor')
        extractor = _stages(extractors)[0]
        side = extractor.roi_layers[0].output_size
        shape = number, extractor.out_channels, *side
        regions = torch.empty(shape, device='meta')
        flops = sum(_count(partial(head, regions))[1] for head in heads)
        title = f'{name}_head, {number} regions'
        parts.append(Part(title, _size(*heads), flops))
    return parts


def _stages(head: nn.Module) -> list[Any]:
    """Return the heads of a cascade, or the only head, as a list."""
    return list(head) if isinstance(head, nn.ModuleList) else [head]


def _packed_inputs(cfg: Config, test: bool = False) -> dict:
    """Run the config's pipeline on a photograph of 480 x 640 pixels."""
    loader = cfg.test_dataloader if test else cfg.train_dataloader
    steps = [
        step for step in loader.dataset.pipeline if 'Load' not in step.type
    ]
    pixels = np.zeros((480, 640, 3), np.uint8)
    results = dict(img=pixels, img_shape=pixels.shape[:2], gt_label=0)
    scope = 'mmdet' if cfg.get('default_scope') == 'mmdet' else 'mmpretrain'
    with DefaultScope.overwrite_default_scope(scope):
        return Compose(steps)(results)


def _as_meta(image: Tensor) -> Tensor:
    return torch.empty(1, *image.shape, device='meta')


def _count(function: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """Call a function, and return its result and its multiply-adds."""
    # Gradients stay enabled: without them, the counter cannot tell which
    # module an operation belongs to.
    with FlopCounterMode(display=False) as counter:
        result = function()
    return result, counter.get_total_flops() // 2


def _size(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def _trained(*modules: nn.Module) -> int:
    return sum(
        parameter.numel()
        for module in modules
        for parameter in module.parameters()
        if parameter.requires_grad
    )
