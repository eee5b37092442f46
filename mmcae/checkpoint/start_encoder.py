# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Read an encoder that a pretraining can start from, of any library."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from mmcae.checkpoint.config_literals import config_literals
from mmcae.checkpoint.download import download_once, split_pin
from mmcae.checkpoint.encoder_args import HEADS, encoder_args
from mmcae.checkpoint.errors import StartError
from mmcae.checkpoint.mmengine_loader import removed_if_refused
from mmcae.checkpoint.normalization import recorded_normalization
from mmcae.checkpoint.official import from_official
from mmcae.checkpoint.packaged import (
    is_packaged,
    local_file,
    packaged_weights,
)
from mmcae.checkpoint.printable import printable, printable_names
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.checkpoint.start_form import normal_form, refuse_unknown, renamed
from mmcae.checkpoint.start_table import (
    FAMILIES,
    TREATMENTS,
    Family,
    family_of,
    refused,
)
from mmcae.checkpoint.weights import meta_of, weights_of
from mmcae.config.search_path import find_config

WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')
_MAX_CONFIG = 1 << 20
_GELU = ('gelu', None)


@dataclass
class Start:
    """An encoder in our names, whatever library it comes from.

    Attributes:
        location: As the user wrote it.
        family: The row of the table.
        state: Tensors of the encoder without a prefix. Biases are
            ``attn.q_bias`` and ``attn.v_bias``, and ``pos_embed`` begins
            with the class token's row.
        args: What `encoder_args` finds, with the number of heads.
        heads_known: Whether the file says the number of heads.
        eps: Epsilon of the norms.
        neck: Regressor and decoder of a whole CAE, without a prefix.
        given: All names of the file.
        dropped: Those that are not used.
        notes: Treatments that were needed, a sentence each.
        normalization: ``mean`` and ``std`` of RGB values in 0..1, if the
            file says them.
        meta: Its metadata.
        model: The config of its model, as data; empty if it has none.
    """

    location: str
    family: Family
    state: dict[str, Tensor]
    args: dict[str, Any]
    heads_known: bool
    eps: float
    neck: dict[str, Tensor]
    given: list[str]
    dropped: list[str]
    notes: list[str] = field(default_factory=list)
    normalization: dict[str, list[float]] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arch(self) -> dict[str, int]:
        """The argument ``arch`` of `CAEViT`."""
        return self.args['arch']

    @property
    def has_relative_positions(self) -> bool:
        """Whether it has relative position biases."""
        return any(
            k.endswith('relative_position_bias_table') for k in self.state
        )

    def __str__(self) -> str:
        arch, patch = self.arch, self.args['patch_size'][0]
        return (
            f'{self.family.name}, {arch["num_layers"]} blocks of width '
            f'{arch["embed_dims"]} with {arch["num_heads"]} heads, patches of '
            f'{patch} px'
        )


def read_start(
    location: str | os.PathLike, num_heads: int | None = None
) -> Start:
    """Read an encoder, or a whole CAE, and bring it into our form.

    Args:
        location: A file; a folder of Hugging Face's; a URL, with or without
            ``#sha256=``; or ``mmcae://NAME``.
        num_heads: Number of heads, if the file does not say it.

    Returns:
        The encoder, and what is known about it.

    Raises:
        FileNotFoundError: If there is no such file.
        StartError: If CAE's encoder cannot express it.
        ValueError: If the file cannot be read.
    """
    location = os.fspath(location)
    path, checkpoint = _read(location)
    meta = meta_of(checkpoint)
    model = _recorded_model(location, meta)
    tensors = {
        key.removeprefix('module.'): value
        for key, value in weights_of(checkpoint, location).items()
    }
    found = family_of(tensors)
    if found is None:
        raise StartError(
            f'{printable(location, 1000)} holds no encoder that can start a '
            f'CAE: its tensors are {printable_names(tensors, 5)}. Give a '
            f'vision transformer of {_listed()}'
        )
    family, prefix = found
    given, scheme = list(tensors), family.scheme
    if family.name == 'CAE of the authors':
        tensors = from_official(tensors)
        prefix, scheme = 'backbone.', 'mmpretrain'
    own = {
        key.removeprefix(prefix): value
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    settings = _settings(path, family)
    _refuse(location, own, settings)
    state, unknown = renamed(own, scheme)
    refuse_unknown(location, unknown)
    state, notes = normal_form(state, location)
    heads, why = _num_heads(
        family, state, settings, meta, _part(model, 'backbone'), num_heads
    )
    if why:
        notes.append(TREATMENTS['heads'].note.format(heads=heads, why=why))
    try:
        args = encoder_args(
            {f'backbone.{k}': v for k, v in state.items()}, heads
        )
    except ValueError as error:
        raise StartError(f'{printable(location, 1000)}: {error}') from error
    neck = {
        key.removeprefix('neck.'): value
        for key, value in tensors.items()
        if key.startswith('neck.') and family.is_whole
    }
    used = {value.data_ptr() for value in (*own.values(), *neck.values())}
    dropped = [
        key
        for key, value in weights_of(checkpoint, location).items()
        if value.data_ptr() not in used
    ] + [prefix + key for key in unknown]
    norm_cfg = _part(_part(model, 'backbone'), 'norm_cfg')
    eps = settings.get('layer_norm_eps', norm_cfg.get('eps'))
    return Start(
        location=location,
        family=family,
        state=state,
        args=args,
        heads_known=not why,
        eps=float(eps) if isinstance(eps, int | float) else family.eps,
        neck=neck,
        given=given,
        dropped=dropped,
        notes=notes,
        normalization=_normalization(path, checkpoint),
        meta=meta,
        model=model,
    )


def _listed() -> str:
    return ', '.join(family.name for family in FAMILIES)


def _read(location: str) -> tuple[Path, dict]:
    if location.startswith(('http://', 'https://')):
        path = download_once(location)
        with removed_if_refused(split_pin(location)[0], path):
            return path, read_checkpoint(path)
    folder = Path(location).expanduser()
    if not folder.is_dir():
        path = local_file(location)
        return path, read_checkpoint(path)
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name, read_checkpoint(folder / name)
    parts = sorted(path.name for path in folder.glob('*.index.json'))
    what = f'only {parts[0]}, a file in several parts' if parts else 'neither'
    raise StartError(
        f'{folder} has no {" or ".join(WEIGHT_FILES)} ({what}): give the '
        'file of the weights'
    )


def _settings(path: Path, family: Family) -> dict[str, Any]:
    """What Hugging Face's ``config.json`` beside the file says."""
    if not family.scheme.startswith('transformers'):
        return {}
    return _json(path.with_name('config.json'))


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG:
            return {}
        found = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _normalization(
    path: Path, checkpoint: Mapping[str, Any]
) -> dict[str, list[float]] | None:
    recorded = recorded_normalization(checkpoint)
    if recorded is not None:
        return recorded
    beside = _json(path.with_name('preprocessor_config.json'))
    values = beside.get('image_mean'), beside.get('image_std')
    if None in values:
        timm = _json(path.with_name('config.json')).get('pretrained_cfg')
        if isinstance(timm, dict):
            values = timm.get('mean'), timm.get('std')
    return recorded_normalization(
        {
            'meta': {
                'normalization': dict(
                    zip(('mean', 'std'), values, strict=True)
                )
            }
        }
    )


def _recorded_model(location: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """``model`` of the config that a run stores, or of a packaged recipe."""
    if is_packaged(location):
        name = location.rpartition('/')[2]
        recipe = Path(packaged_weights()[name]['recipe']).stem
        model = Config.fromfile(find_config(recipe)).model.to_dict()
    else:
        model = config_literals(meta.get('cfg')).get('model')
    return model if isinstance(model, dict) else {}


def _part(model: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a model's config, without what is no literal."""
    found = model.get(name)
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if v is not None}


def _refuse(
    location: str, own: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> None:
    """Raise `StartError` for what CAE's encoder cannot express."""
    reasons = [
        f'{what} ({printable(name)})' for what, name in refused(own).items()
    ]
    activation = settings.get('hidden_act')
    if activation not in _GELU:
        reasons.append(f"the activation '{printable(str(activation))}'")
    if not any(key.endswith('cls_token') for key in own):
        reasons.append('no class token')
    if reasons:
        raise StartError(
            f'{printable(location, 1000)} cannot start a CAE: it has '
            f"{' and '.join(reasons)}, which CAE's encoder cannot express. "
            'Give a plain vision transformer'
        )


def _num_heads(
    family: Family,
    state: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    meta: Mapping[str, Any],
    backbone: Mapping[str, Any],
    asked: int | None,
) -> tuple[int, str]:
    """Find the number of heads.

    Returns:
        The number, and where it comes from if the file does not say it.

    Raises:
        StartError: If the file says another number than the user.
    """
    width = state['cls_token'].shape[-1]
    tables = [v for k, v in state.items() if k.endswith('bias_table')]
    written = meta.get('encoder_args')
    if isinstance(written, str):
        written = json.loads(written)
    known: Any = settings.get('num_attention_heads')
    for record in (written, meta, backbone):
        arch = record.get('arch') if isinstance(record, Mapping) else None
        if known is None and isinstance(arch, Mapping):
            known = arch.get('num_heads')
    if tables:
        known = tables[0].shape[1]
    if isinstance(known, int):
        if asked not in (None, known):
            raise StartError(
                f'the file has {known} heads, not {asked}: leave the number '
                'of heads out'
            )
        return known, ''
    if asked is not None:
        return asked, 'as asked for'
    # BEiT's own encoders have tables of relative positions; without them it
    # is one of CAE's, whose small model has narrow heads.
    narrow = family.eps == 1e-6 and 'no_bias' not in family.treatments
    if narrow and width in HEADS:
        return HEADS[width], f"the authors' number for width {width}"
    if width % 64:
        raise StartError(
            'the file does not say its number of heads, and its width '
            f'{width} is no multiple of 64: give it (--num-heads)'
        )
    return width // 64, 'the width divided by 64'
