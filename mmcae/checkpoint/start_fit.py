# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fit an encoder that was read to `CAEViT`, load it, and report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmcae.checkpoint.errors import StartError
from mmcae.checkpoint.key_summary import summarize_keys
from mmcae.checkpoint.load_report import (
    LoadReport,
    Shape,
    collect_notes,
    summarize_shapes,
)
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.start_encoder import Start
from mmcae.checkpoint.start_table import TREATMENTS

_TABLE = 'relative_position_bias_table'
_KERNEL = 'patch_embed.projection.weight'


@dataclass
class StartReport:
    """What a start took from a file.

    Attributes:
        title: Which file starts what.
        matched: Tensors of the model that are those of the file.
        resized: Those that were interpolated (from, to).
        new: Those that the file does not have.
        dropped: Tensors of the file that are not used.
        notes: Differences that were mended, a sentence each.
        expected: All names of the model.
        given: All names of the file.
    """

    title: str
    matched: list[str] = field(default_factory=list)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)

    @property
    def counts(self) -> str:
        """How many tensors had which fate."""
        return ', '.join(
            f'{len(names)} {what}'
            for what, names in (
                ('matched', self.matched),
                ('resized', self.resized),
                ('new', self.new),
                ('dropped', self.dropped),
            )
        )

    def __str__(self) -> str:
        lines = [f'{printable(self.title, 2000)}: {self.counts}']
        for what, entries in (
            ('resized', summarize_shapes(self.resized, '->')),
            ('new', summarize_keys(self.new, self.expected)),
            ('dropped', summarize_keys(self.dropped, self.given)),
            ('note', self.notes),
        ):
            if entries:
                sign = '; ' if what == 'note' else ', '
                lines.append(f'  {what}: {sign.join(entries)}')
        return '\n'.join(lines)


def start_encoder(encoder: nn.Module, start: Start) -> StartReport:
    """Load an encoder's weights into a `CAEViT`.

    Args:
        encoder: A `CAEViT`.
        start: What was read.

    Returns:
        What happened to each tensor.

    Raises:
        StartError: If the encoder has other sizes, or cannot express what
            the file has; says what to change.
    """
    wanted = encoder.state_dict()
    report = StartReport(
        f'{type(encoder).__name__} starts from {start.location} '
        f'({start.family.name})',
        dropped=list(start.dropped),
        notes=list(start.notes),
        given=list(start.given),
    )
    state = {key: value.float() for key, value in start.state.items()}
    _check_sizes(encoder, start)
    _fit_patches(state, wanted, report)
    _fit_positions(state, wanted, start)
    _fit_scales(state, wanted, report)
    _fit_biases(state, wanted, start)
    _compare_eps(encoder, start, report)
    made = {key for key in state if key not in start.state}
    noted = LoadReport('')
    with collect_notes(noted):
        try:
            found = encoder.load_state_dict(state, strict=False)
        except RuntimeError as error:  # a shape that the encoder cannot fit
            raise StartError(
                f'{start.location} does not fit this encoder: '
                f'{printable(" ".join(str(error).split()), 500)}'
            ) from error
    if found.unexpected_keys:
        raise StartError(
            f'{start.location} has tensors that this encoder does not have: '
            f'{", ".join(summarize_keys(found.unexpected_keys)[:5])}'
        )
    for name, (old, new) in noted.resized.items():
        first = report.resized.get(name, (old, old))[0]
        report.resized[name] = first, new
    report.notes += getattr(noted, 'remarks', [])
    report.expected = [
        key for key in wanted if not key.endswith('relative_position_index')
    ]
    absent = {*found.missing_keys, *made}
    report.new = [key for key in report.expected if key in absent]
    report.matched = [
        key
        for key in report.expected
        if key not in absent and key not in report.resized
    ]
    if any(key.startswith('ln') for key in found.missing_keys):
        report.notes.append(TREATMENTS['no_norm'].note)
    return report


def start_part(
    module: nn.Module, start: Start, part: str, skip: tuple[str, ...]
) -> StartReport:
    """Load regressor and decoder of a whole CAE.

    Args:
        module: A `CAENeck`.
        start: What was read.
        part: The name of the part, for messages.
        skip: Beginnings of names that stay new, such as ``'head.'``.

    Returns:
        What happened to each tensor.

    Raises:
        StartError: If the file is not a whole CAE, or of another size.
    """
    if not start.neck:
        raise StartError(
            f'{start.location} has an encoder only, and no {part}: remove '
            f'model.{part}.init_cfg'
        )
    wanted = module.state_dict()
    state = {
        key: value.float()
        for key, value in start.neck.items()
        if key in wanted and not key.startswith(skip or ('\n',))
    }
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            first = key.split('.')[0]
            raise StartError(
                f'{start.location} has {part}.{key} of the shape '
                f'{tuple(value.shape)}, and this model '
                f'{tuple(wanted[key].shape)}: change the sizes of '
                f"model.{part}, or leave it out (skip=['{first}.'])"
            )
    missing = module.load_state_dict(state, strict=False).missing_keys
    return StartReport(
        f'{type(module).__name__} starts from {start.location}',
        matched=list(state),
        new=list(missing),
        dropped=[key for key in start.neck if key not in state],
        expected=list(wanted),
        given=list(start.neck),
    )


def _check_sizes(encoder: Any, start: Start) -> None:
    settings = encoder.arch_settings
    names = dict(
        num_layers='blocks',
        embed_dims='channels',
        num_heads='heads',
        feedforward_channels='hidden channels',
    )
    differ = [
        key
        for key in names
        if settings[key] != start.arch[key]
        and (key != 'num_heads' or start.heads_known)
    ]
    if differ:
        theirs, ours = (
            ', '.join(f'{sizes[key]} {names[key]}' for key in differ)
            for sizes in (start.arch, settings)
        )
        arch = ', '.join(f'{k}={start.arch[k]}' for k in names)
        raise StartError(
            f'{start.location} has {theirs}, and this encoder has {ours}: set '
            f'model.backbone.arch=dict({arch}), and the width of the neck'
        )
    tables = [key for key in encoder.state_dict() if key.endswith(_TABLE)]
    if start.has_relative_positions and not tables:
        raise StartError(
            f'{start.location} has relative position biases, which CAE does '
            'not pretrain with, because a subset of the patches has no table '
            'of them. Give an encoder with absolute positions; in CAEViT, '
            'set use_rel_pos_bias=True'
        )


def _fit_patches(
    state: dict[str, Tensor], wanted: Mapping[str, Tensor], report: StartReport
) -> None:
    """Fit the patch embedding to another patch size.

    The encoder adapts it to other channels when it loads.
    """
    kernel, size = state[_KERNEL], tuple(wanted[_KERNEL].shape[2:])
    old = tuple(kernel.shape)
    if old[2:] != size:
        kernel = _resampled(kernel, (size[0], size[1]))
        note = TREATMENTS['patch'].note
        report.notes.append(note.format(old=old[2], new=size[0]))
        report.resized[_KERNEL] = old, tuple(kernel.shape)
    state[_KERNEL] = kernel
    bias = 'patch_embed.projection.bias'
    if bias in wanted and bias not in state:
        state[bias] = kernel.new_zeros(len(kernel))


def _resampled(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a patch embedding by timm, as FlexiViT does."""
    try:
        from timm.layers.patch_embed import resample_patch_embed
    except ImportError as error:
        raise StartError(
            f'the patches of the file have {kernel.shape[-1]} px, and those '
            f'of this encoder {size[-1]} px: resizing the patch embedding '
            'needs timm (pip install timm), or set model.backbone.patch_size='
            f'{kernel.shape[-1]}'
        ) from error
    return resample_patch_embed(kernel, list(size))


def _fit_positions(
    state: dict[str, Tensor], wanted: Mapping[str, Tensor], start: Start
) -> None:
    # The encoder resizes the table itself.
    if 'pos_embed' in wanted and 'pos_embed' not in state:
        state['pos_embed'] = torch.zeros_like(wanted['pos_embed'])
    if 'pos_embed' in state and 'pos_embed' not in wanted:
        raise StartError(
            f'{start.location} has absolute positions, and this encoder has '
            'none: set model.backbone.use_abs_pos_emb=True'
        )


def _fit_scales(
    state: dict[str, Tensor], wanted: Mapping[str, Tensor], report: StartReport
) -> None:
    """Add layer scales of one, or multiply them into the layer before."""
    branches = {'gamma_1': 'attn.proj', 'gamma_2': 'ffn.layers.1'}
    has = any(key.endswith('gamma_1') for key in state)
    wants = 'layers.0.gamma_1' in wanted
    if has == wants:
        return
    key = 'fold_scale' if has else 'no_scale'
    report.notes.append(TREATMENTS[key].note)
    blocks = {
        name.split('.')[1] for name in state if name.startswith('layers')
    }
    for block in blocks:
        for scale, layer in branches.items():
            name = f'layers.{block}.{scale}'
            if not has:
                state[name] = torch.ones_like(wanted[name])
                continue
            gamma = state.pop(name)
            layer = f'layers.{block}.{layer}'
            state[f'{layer}.weight'] = (
                state[f'{layer}.weight'] * gamma[:, None]
            )
            state[f'{layer}.bias'] = state[f'{layer}.bias'] * gamma


def _fit_biases(
    state: dict[str, Tensor], wanted: Mapping[str, Tensor], start: Start
) -> None:
    """Give queries and values the kind of bias that the encoder has."""
    for key in [k for k in state if k.endswith('.attn.q_bias')]:
        if key in wanted:
            continue
        attn = key.removesuffix('q_bias')
        query, value = state.pop(key), state.pop(f'{attn}v_bias')
        if f'{attn}qkv.bias' in wanted:
            parts = [query, torch.zeros_like(query), value]
            state[f'{attn}qkv.bias'] = torch.cat(parts)
        elif query.any() or value.any():
            raise StartError(
                f'{start.location} has biases of queries and values, and '
                "this encoder has none: set model.backbone.bias='qv_bias'"
            )


def _compare_eps(encoder: Any, start: Start, report: StartReport) -> None:
    eps = encoder.layers[0].ln1.eps
    if eps != start.eps:
        note = TREATMENTS['eps'].note
        report.notes.append(note.format(theirs=start.eps, ours=eps))
