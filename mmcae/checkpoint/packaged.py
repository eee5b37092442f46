# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Weights that travel in the package, addressed as ``mmcae://NAME``."""

import json
import os
import re
from pathlib import Path
from typing import Any

from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.files import existing_file, sha256_of
from mmcae.checkpoint.hub_file import hub_weights, is_hub_address
from mmcae.checkpoint.printable import printable
from mmcae.config.nearest import LONG_NAME, nearest

PREFIX = 'mmcae://'
#: The folder of the files and of their manifest.
FOLDER = Path(__file__).resolve().parent.parent / 'zoo' / 'weights'
MANIFEST = 'weights.json'
# `Path('mmcae://NAME')` has one slash.
_ADDRESS = re.compile(r'mmcae:/{1,2}(?P<name>.*)', re.DOTALL)
_REMEDY = (
    'install the package again: `pip install --force-reinstall --no-deps '
    'mmcae`, or `git checkout mmcae/zoo/weights` in the repository'
)


def packaged_weights() -> dict[str, dict[str, Any]]:
    """Read the manifest of the packaged weights.

    Returns:
        For each name, a dict with ``file``, ``bytes``, ``sha256``, the
        recipe, the data and their licenses, and what was measured
        (docs/weights.md).

    Raises:
        FileNotFoundError: If the package has no manifest.
    """
    path = FOLDER / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f'there is no {path}: {_REMEDY}')
    return json.loads(path.read_text(encoding='utf-8'))


def is_packaged(path: str | os.PathLike) -> bool:
    """Whether a path is an address of packaged weights, ``mmcae://NAME``."""
    return _ADDRESS.fullmatch(os.fspath(path)) is not None


def packaged_file(address: str | os.PathLike) -> Path:
    """Find the file of packaged weights, and compare it with the manifest.

    Args:
        address: ``mmcae://NAME``.

    Returns:
        The file.

    Raises:
        ValueError: If no packaged weights have this name; says which exist.
        FileNotFoundError: If the file is missing from the package.
        UnreadableCheckpointError: If its SHA-256 is not that of the manifest.
    """
    found = _ADDRESS.fullmatch(os.fspath(address))
    if found is None:
        raise ValueError(
            f'{printable(os.fspath(address), 1000)} does not begin with '
            f'{PREFIX}'
        )
    name, known = found['name'], packaged_weights()
    if name not in known:
        near = nearest(name, known, LONG_NAME)
        hint = f"; did you mean '{PREFIX}{near}'?" if near else ''
        raise ValueError(
            f"the package has no weights '{printable(name)}'{hint} "
            f'(it has {", ".join(PREFIX + other for other in known)})'
        )
    record = known[name]
    path = FOLDER / record['file']
    if not path.is_file():
        raise FileNotFoundError(f'there is no {path}: {_REMEDY}')
    digest = sha256_of(path)
    if digest != record['sha256']:
        raise UnreadableCheckpointError(
            f'{path} is not the file that belongs to this package: its '
            f'SHA-256 begins with {digest[:8]}, and {MANIFEST} says '
            f'{record["sha256"][:8]}; {_REMEDY}'
        )
    return path


def local_file(path: str | os.PathLike) -> Path:
    """Find a file by its path, or by its address in the package or the Hub.

    Args:
        path: A local path, ``mmcae://NAME``, or ``hf://OWNER/NAME``.

    Returns:
        The path of an existing file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `packaged_file` and `hub_weights`.
        DownloadError: As `hub_weights`.
    """
    if is_hub_address(path):
        return hub_weights(path)
    return packaged_file(path) if is_packaged(path) else existing_file(path)
