# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Start a planned pretraining from weights: `mmcae pretrain --start`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmcae.cli.planning.adaptation import ADAPTATION
from mmcae.cli.planning.config_text import written
from mmcae.cli.planning.sizes import Size

#: What few images can continue from, without a network.
EXAMPLE = 'mmcae://cae_tiny-p8_1xb32-coslr-30e_emoji-48px'
#: More patches along a side make a step too slow.
_MOST_PATCHES = 16
#: Pixels of a side that a token stands for, in the configs.
_TOKEN_SIDE = 8
_EPS = 1e-6
_ARCH = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')


@dataclass(frozen=True)
class StartPlan:
    """What a pretraining starts from.

    Attributes:
        checkpoint: As the config names it.
        title: The encoder in words.
        counts: How many of its tensors matched, and so on.
        arch: The argument ``arch`` of the encoder.
        patch_size: Side of a patch.
        image_size: Side of the images.
        eps: Epsilon of the encoder's norms.
        num_heads: Given by the user, if the file does not say it.
        mean: Of the pixels, 0 to 255, that the encoder was trained with;
            None if the file does not say it.
        std: The same for the standard deviation.
        neck: Arguments of regressor and decoder of a whole CAE; else None.
        skip: What of them stays new.
        tokenizer: The config of the tokenizer that is reused; None trains
            one, or downloads DALL-E's.
        vocab_size: Its number of codes; 0 without one.
        notes: Differences that were mended, a sentence each.
    """

    checkpoint: str
    title: str
    counts: str
    arch: dict[str, int]
    patch_size: int
    image_size: int
    eps: float = _EPS
    num_heads: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    neck: dict[str, Any] | None = None
    skip: tuple[str, ...] = ()
    tokenizer: dict[str, Any] | None = None
    vocab_size: int = 0
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line of the plan."""
        parts = [
            f'{self.checkpoint} ({self.title})',
            f'tensors of the encoder: {self.counts}',
        ]
        if self.neck is None:
            parts.append('regressor and decoder are new')
        elif self.skip:
            parts.append(
                'regressor and decoder start from it, too; the last layer is '
                'new, because the tokenizer is another one'
            )
        else:
            parts.append(
                'regressor and decoder start from it, too, and the tokenizer '
                'is the same'
            )
        return '; '.join([*parts, *self.notes])


def look_at_start(
    location: str, target: str | None, num_heads: int | None = None
) -> StartPlan:
    """Read what a pretraining is going to start from.

    Args:
        location: A file, a folder, a URL, ``mmcae://NAME``, or the name of a
            config whose weights travel in the package.
        target: ``'dvae'``, ``'dalle'``, or None. With None, the tokenizer of
            a whole CAE is reused if its file is found.
        num_heads: Number of heads, if the file does not say it.

    Returns:
        What is going to be written into the config.

    Raises:
        StartError: If CAE cannot start from it.
        FileNotFoundError: If there is no such file.
    """
    from mmcae.checkpoint.start_encoder import read_start
    from mmcae.checkpoint.start_fit import start_encoder
    from mmcae.models import CAEPretrainViT

    checkpoint = resolve(location)
    start = read_start(checkpoint, num_heads)
    patch = start.args['patch_size'][0]
    side = patch * min(start.args['img_size'][0] // patch, _MOST_PATCHES)
    encoder = CAEPretrainViT(
        arch=start.arch,
        img_size=side,
        patch_size=patch,
        in_channels=start.args['in_channels'],
        norm_cfg=dict(type='LN', eps=start.eps),
    )
    report = start_encoder(encoder, start)
    tokenizer = neck = None
    skip: tuple[str, ...] = ()
    if start.neck:
        neck = _neck_sizes(start)
        if target is None:
            tokenizer = _tokenizer_of(checkpoint, start)
        kept = tokenizer is not None or (
            target == 'dalle' and _predicts_dalle(start)
        )
        skip = () if kept else ('head.',)
    pixels = start.normalization or {}
    scaled = {
        key: [round(255 * value, 4) for value in values]
        for key, values in pixels.items()
    }
    return StartPlan(
        checkpoint=checkpoint,
        title=str(start),
        counts=report.counts,
        arch={key: start.arch[key] for key in _ARCH},
        patch_size=patch,
        image_size=side,
        eps=start.eps,
        num_heads=num_heads,
        mean=scaled.get('mean'),
        std=scaled.get('std'),
        neck=neck,
        skip=skip,
        tokenizer=tokenizer,
        vocab_size=len(start.neck['head.weight']) if tokenizer else 0,
        notes=tuple(report.notes),
    )


def resolve(location: str) -> str:
    """Find what a config can name: a URL, an address, or a whole path."""
    from mmcae.checkpoint.packaged import (
        PREFIX,
        is_packaged,
        packaged_weights,
    )

    if is_packaged(location):
        return PREFIX + location.partition(':')[2].lstrip('/')
    if location.startswith(('http://', 'https://')):
        return location
    path = Path(location).expanduser()
    if path.exists():
        return str(path.absolute())
    name = path.stem if path.suffix == '.py' else location
    if name in packaged_weights():
        return PREFIX + name
    raise FileNotFoundError(
        f'--start {location}: there is no such file, and the package has no '
        f'weights of this name (it has {", ".join(packaged_weights())})'
    )


def _neck_sizes(start: Any) -> dict[str, Any]:
    """Arguments of `CAENeck` for the tensors of a whole CAE."""
    tensors = start.neck

    def depth(part: str) -> int:
        found = [k.split('.')[1] for k in tensors if k.startswith(part)]
        return 1 + max(map(int, found), default=-1)

    width = tensors['mask_token'].shape[-1]
    hidden = len(tensors['regressors.0.ffn.layers.0.0.weight'])
    recorded = start.model.get('neck') or {}
    scaled = any(key.endswith('gamma_1') for key in tensors)
    return dict(
        embed_dims=width,
        num_heads=recorded.get('num_heads') or start.arch['num_heads'],
        regressor_depth=depth('regressors.'),
        decoder_depth=depth('decoders.'),
        mlp_ratio=hidden / width,
        **({} if scaled else dict(layer_scale_init_value=0)),
    )


def _tokenizer_of(checkpoint: str, start: Any) -> dict[str, Any] | None:
    """The config of a CAE's own tokenizer, if its weights are found.

    They travel in the package, are where the config says, or lie next to
    the checkpoint. A file with another SHA-256 than the recorded one is
    another tokenizer.
    """
    from mmcae.checkpoint.files import sha256_of
    from mmcae.checkpoint.packaged import is_packaged, packaged_weights

    generator = start.model.get('target_generator')
    if not isinstance(generator, dict) or 'head.weight' not in start.neck:
        return None
    if str(generator.get('type')).rpartition('.')[2] != 'DVAE':
        return None
    if generator.get('downsample') != _TOKEN_SIDE:
        return None
    if is_packaged(checkpoint):
        name = checkpoint.rpartition('/')[2]
        return _reused(generator, packaged_weights()[name]['tokenizer'])
    init_cfg = generator.get('init_cfg')
    written = (init_cfg or {}).get('checkpoint')
    if not isinstance(written, str) or '://' in checkpoint:
        return None
    if is_packaged(written):
        return _reused(generator, written)
    folder, recorded = Path(checkpoint).parent, start.meta.get('tokenizer')
    digest = recorded.get('sha256') if isinstance(recorded, dict) else None
    name = Path(written).name
    for path in (
        Path(written),
        folder / name,
        folder.parent / 'tokenizer' / name,
    ):
        if path.is_file() and digest in (None, sha256_of(path)):
            return _reused(generator, str(path.absolute()))
    return None


def _reused(generator: Mapping[str, Any], file: str) -> dict[str, Any]:
    known = {k: v for k, v in generator.items() if v is not None}
    init_cfg = dict(type='Pretrained', checkpoint=file)
    return {**known, 'type': 'mmcae.DVAE', 'init_cfg': init_cfg}


def _predicts_dalle(start: Any) -> bool:
    """Whether the last layer of a whole CAE is for DALL-E's tokens."""
    recorded = start.meta.get('tokenizer')
    kind = recorded.get('type') if isinstance(recorded, dict) else None
    head = start.neck.get('head.weight')
    return (
        head is not None
        and len(head) == 8192
        and (kind in (None, 'DALLEEncoder'))
    )


def template_of(start: StartPlan) -> str:
    """The size whose config and estimates suit an encoder."""
    number = _parameters(start)
    for limit, name in ((2e6, 'tiny'), (4e7, 'small'), (1.5e8, 'base')):
        if number < limit:
            return name
    return 'large'


def _parameters(start: StartPlan) -> int:
    width, hidden = (
        start.arch['embed_dims'],
        start.arch['feedforward_channels'],
    )
    return start.arch['num_layers'] * width * (4 * width + 2 * hidden)


#: Parameters of the blocks of the sizes' encoders.
_USUAL = dict(tiny=4.4e5, small=2.1e7, base=8.5e7, large=3.02e8)


def started_size(spec: Size, start: StartPlan) -> Size:
    """A size with the numbers of a file; memory and disk in proportion."""
    ratio = _parameters(start) / _USUAL[template_of(start)]
    width, depth = start.arch['embed_dims'], start.arch['num_layers']
    return replace(
        spec,
        model=f'{depth} blocks of width {width}',
        width=width,
        num_heads=start.arch['num_heads'],
        fixed_memory=round(max(1.0, ratio) * spec.fixed_memory),
        image_memory=round(max(1.0, ratio) * spec.image_memory),
        checkpoint=round(max(1.0, ratio) * spec.checkpoint),
    )


def start_values(start: StartPlan | None, channels: int) -> dict[str, Any]:
    """Variables of CAE's config that a start changes.

    Args:
        start: None changes nothing.
        channels: Of the images.
    """
    if start is None:
        return {}
    values: dict[str, Any] = start_normalization(start, channels)
    if start.tokenizer is not None:
        values['tokenizer'] = start.tokenizer['init_cfg']['checkpoint']
        values['target_generator'] = start.tokenizer
    return values


def start_normalization(
    start: StartPlan | None, channels: int
) -> dict[str, Any]:
    """Mean and standard deviation that the encoder was trained with.

    Images with other channels keep those of the folder.
    """
    if start is None or start.mean is None or start.std is None:
        return {}
    if len(start.mean) != channels:
        return {}
    return dict(mean=start.mean, std=start.std)


def encoder_lines(start: StartPlan | None) -> str:
    """Lines at the end of a config that give the encoder its sizes."""
    if start is None:
        return ''
    return _update("model['backbone']", _encoder(start))


def start_lines(start: StartPlan | None) -> str:
    """Lines at the end of CAE's config that a start adds."""
    if start is None:
        return ''
    init_cfg: dict[str, Any] = dict(
        type='mmcae.StartFrom', checkpoint=start.checkpoint
    )
    if start.num_heads is not None:
        init_cfg['num_heads'] = start.num_heads
    encoder = {**_encoder(start), 'init_cfg': init_cfg}
    text = '# Start from weights: sizes and initialization of the file.\n'
    text += _update("model['backbone']", encoder)
    if start.neck is not None:
        if start.skip:
            init_cfg = {**init_cfg, 'skip': list(start.skip)}
        text += _update("model['neck']", {**start.neck, 'init_cfg': init_cfg})
    if ADAPTATION.layer_decay != 1:
        text += (
            "optim_wrapper['constructor'] = "
            "'mmcae.LayerDecayOptimWrapperConstructor'\n"
            "optim_wrapper['paramwise_cfg']['layer_decay_rate'] = "
            f'{ADAPTATION.layer_decay}\n'
        )
    return text


def _encoder(start: StartPlan) -> dict[str, Any]:
    values: dict[str, Any] = dict(arch=start.arch)
    if start.eps != _EPS:
        values['norm_cfg'] = dict(type='LN', eps=start.eps)
    return values


def _update(target: str, values: Mapping[str, Any]) -> str:
    items = ''.join(
        f'    {key}={written(value, "    ")},\n'
        for key, value in values.items()
    )
    return f'{target}.update(\n{items})\n'
