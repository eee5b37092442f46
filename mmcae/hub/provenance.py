# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which weights a training began with, as its checkpoint records it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcae.apis.recorded_config import recorded_config
from mmcae.checkpoint.hub_file import is_hub_address
from mmcae.checkpoint.packaged import is_packaged
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.reading import read_with_digest
from mmcae.checkpoint.weights import meta_of

#: A fine-tuned model began with a CAE, and that one with a tokenizer.
_MAX_DEPTH = 5
#: Targets that have no weights, or weights that mmcae has trained.
_OWN_TARGETS = ('DVAE', 'HOGGenerator')


def foreign_weights(
    config: Config | None, content: Mapping[str, Any], file: Path
) -> list[str]:
    """List the weights that no training of mmcae is known to have made.

    Each file that the config names as a start is looked for and read. It is
    one's own if it records a training of mmcae which began with none or with
    its own.

    Args:
        config: The config of the training; None if it is not recorded.
        content: The content of the checkpoint.
        file: The checkpoint; other files are looked for near it.

    Returns:
        One phrase for each. An empty list means: trained with no third-party
        weights.
    """
    return list(dict.fromkeys(_foreign(config, content, file, 0)))


def _foreign(
    config: Config | None, content: Mapping[str, Any], file: Path, depth: int
) -> Iterator[str]:
    if config is None or depth > _MAX_DEPTH:
        yield f'{file.name} does not record how it was trained'
        return
    target = (config.get('model') or {}).get('target_generator') or {}
    kind = str(target.get('type', 'DVAE')).rpartition('.')[2]
    if kind not in _OWN_TARGETS:
        yield f'the targets come from {printable(kind)}'
    recorded = meta_of(content).get('tokenizer')
    recorded = recorded if isinstance(recorded, Mapping) else {}
    if config.get('load_from'):
        yield from _judged(config.load_from, file, depth)
    for start in _starts(config.get('model')):
        tokenizer = start is target.get('init_cfg')
        wanted = recorded.get('sha256') if tokenizer else None
        yield from _judged(start.get('checkpoint'), file, depth, wanted)


def _starts(part: Any) -> Iterator[Mapping[str, Any]]:
    """Every ``init_cfg`` of a model that names a file."""
    if isinstance(part, Mapping):
        if part.get('type') == 'Pretrained':
            yield part
        part = part.values()
    elif not isinstance(part, list | tuple):
        return
    for item in part:
        yield from _starts(item)


def _judged(
    name: Any, near: Path, depth: int, wanted: str | None = None
) -> Iterator[str]:
    """Say why a file that a training began with may be of others."""
    text = str(name)
    shown = printable(text if '://' in text else Path(text).name)
    if is_packaged(text):
        yield f'{shown} travels in the package mmcae'
        return
    path = None if '://' in text or is_hub_address(text) else _find(text, near)
    if path is None:
        where = 'comes from elsewhere' if '://' in text else 'is not here'
        yield f'{shown} {where}'
        return
    try:
        content, digest = read_with_digest(path)
        config = recorded_config(content, str(path))
    except ValueError:
        yield f'{shown} does not record how it was trained'
        return
    if wanted and digest != wanted:
        yield f'{shown} is not the file that the training had'
        return
    yield from _foreign(config, content, path, depth + 1)


def _find(name: str, near: Path) -> Path | None:
    """Find a file where it was, or relative to a folder above another."""
    path = Path(name).expanduser()
    places = [path, near.parent / path.name]
    if not path.is_absolute():
        places += [parent / path for parent in near.resolve().parents]
    return next((place for place in places if place.is_file()), None)
