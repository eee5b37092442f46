# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The page of a repository: what the model is, and an example that works."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from mmcae.checkpoint.hub_file import INSTALL, PREFIX, huggingface_hub
from mmcae.export.source import Source
from mmcae.version import __version__

#: Logged numbers of a run that the card shows, and what they are.
PROBES = {
    'probe_knn': 'nearest neighbors, accuracy',
    'probe_linear': 'linear probe, accuracy',
}
_TAGS = (
    *('mmcae', 'cae', 'masked-image-modeling', 'self-supervised-learning'),
    *('vision-transformer', 'openmmlab'),
)
_NOT_STATED = 'not stated'
OWN_WEIGHTS = 'Trained with no third-party weights'

_FEATURES = """\
from mmcae.hub import from_pretrained

model = from_pretrained('{repo_id}')
images = torch.rand(2, {channels}, {height}, {width})  # values in 0..1
{normalize}with torch.no_grad():
    tokens = model.extract_feat(images)[-1]  # class token and patch tokens
features = tokens[:, 1:].mean(dim=1)  # {shape}
"""
_LOGITS = """\
from mmcae.hub import from_pretrained

model = from_pretrained('{repo_id}')
images = torch.rand(2, {channels}, {height}, {width})  # values in 0..1
{normalize}with torch.no_grad():
    logits = model(images)  # {shape}
"""


@dataclass
class Facts:
    """What the card says.

    Attributes:
        repo_id: The repository.
        source: The checkpoint.
        model: Its model.
        recipe: Name of the config, or None.
        sha256: Of the weights in the repository.
        data: The data in the user's words, or None.
        dataset: The class of the dataset, as the run records it, or None.
        license: Identifier of the license, or None.
        foreign: Weights that may be of others; see `foreign_weights`.
        probes: By logged name, the value in percent and the iteration.
    """

    repo_id: str
    source: Source
    model: nn.Module
    recipe: str | None
    sha256: str
    data: str | None
    dataset: str | None
    license: str | None
    foreign: list[str]
    probes: dict[str, tuple[float, int]] = field(default_factory=dict)


def model_card(facts: Facts) -> str:
    """Write the card.

    Args:
        facts: What it says.

    Returns:
        Markdown with a metadata header, the content of ``README.md``.
    """
    classifier = facts.source.classifier is not None
    header = huggingface_hub().ModelCardData(
        library_name='mmcae',
        pipeline_tag=(
            'image-classification'
            if classifier
            else 'image-feature-extraction'
        ),
        license=facts.license or 'unknown',
        tags=list(_TAGS),
    )
    name = facts.repo_id.partition('/')[2]
    sections = [
        f'---\n{header.to_yaml()}\n---',
        f'# {name}',
        'A vision transformer trained with CAE (Context Autoencoder, '
        '[arXiv 2202.03026](https://arxiv.org/abs/2202.03026)). These are '
        f'the weights of a {facts.source.kind}, written by mmcae '
        f'{__version__}.',
        _table(_rows(facts)),
        f'## Use\n\n```shell\n{INSTALL}\n```\n\n```python\nimport torch\n'
        f'{_example(facts, classifier)}```\n\n'
        f'`{PREFIX}{facts.repo_id}` stands for the checkpoint wherever mmcae '
        'takes one. Nothing in this repository is executed: the config is '
        'JSON, and the weights are safetensors.',
        '## Weights of others\n\n' + _origin(facts.foreign),
    ]
    if facts.probes:
        sections.append('## Measured\n\n' + _measured(facts.probes))
    return '\n\n'.join(sections) + '\n'


def _rows(facts: Facts) -> dict[str, str]:
    source, encoder = facts.source, facts.source.encoder
    patch = 'x'.join(map(str, encoder.patch_embed.projection.stride))
    size = 'x'.join(map(str, encoder.img_size))
    blocks = f'{len(encoder.layers)} blocks of width {encoder.embed_dims}'
    parameters = sum(p.numel() for p in facts.model.parameters())
    data = facts.data or _NOT_STATED
    if not facts.data and facts.dataset:
        data += f'; the run records the dataset class `{facts.dataset}`'
    epoch = source.header.get('epoch')
    recipe = f'`{facts.recipe}`' if facts.recipe else _NOT_STATED
    rows = {
        'encoder': f'{blocks}, {source.num_heads} heads, patches of {patch} '
        f'pixels, images of {size} pixels, '
        f'{encoder.patch_embed.projection.in_channels} channels',
        'parameters': f'{parameters / 1e6:.2f} million',
        'recipe': recipe + (f', {epoch} epochs' if epoch else ''),
        'data': data,
        'license': facts.license or _NOT_STATED,
        'classes': ', '.join(source.class_names),
        'SHA-256 of `model.safetensors`': f'`{facts.sha256}`',
        'SHA-256 of the checkpoint': f'`{source.header["source_sha256"]}`',
    }
    return {key: value for key, value in rows.items() if value}


def _table(rows: dict[str, str]) -> str:
    lines = [
        f'| {key} | {value.replace("|", "/")} |' for key, value in rows.items()
    ]
    return '\n'.join(['| | |', '|---|---|', *lines])


def _example(facts: Facts, classifier: bool) -> str:
    encoder: Any = facts.source.encoder
    height, width = encoder.img_size
    dims = encoder.embed_dims
    if facts.source.classifier is not None:
        dims = facts.source.tensors['head.fc.weight'].shape[0]
    normalization, normalize = facts.source.normalization, ''
    if normalization:
        normalize = (
            f'mean = torch.tensor({normalization["mean"]}).view(-1, 1, 1)\n'
            f'std = torch.tensor({normalization["std"]}).view(-1, 1, 1)\n'
            'images = (images - mean) / std\n'
        )
    return (_LOGITS if classifier else _FEATURES).format(
        repo_id=facts.repo_id,
        channels=encoder.patch_embed.projection.in_channels,
        height=height,
        width=width,
        normalize=normalize,
        shape=f'(2, {dims})',
    )


def _origin(foreign: list[str]) -> str:
    if not foreign:
        return (
            f'{OWN_WEIGHTS}: neither the model nor its tokenizer began with '
            'weights of others.'
        )
    lines = '\n'.join(f'- {phrase}' for phrase in foreign)
    return f'Not known to be trained without weights of others:\n\n{lines}'


def _measured(probes: dict[str, tuple[float, int]]) -> str:
    rows = [
        f'| {PROBES[name]} | {value:.1f} % | {step:,} |'
        for name, (value, step) in probes.items()
    ]
    head = ['| probe during training | value | iteration |', '|---|---|---|']
    return '\n'.join(head + rows)
