# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every checkpoint that mmengine loads goes through mmcae's reader."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine.runner.checkpoint as mmengine_checkpoint
from mmengine.runner import CheckpointLoader

from mmcae.checkpoint.decoding import decode_checkpoint
from mmcae.checkpoint.download import DownloadError, download_once, split_pin
from mmcae.checkpoint.errors import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.official import convert_if_official
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.checkpoint.tensors import MapLocation
from mmcae.checkpoint.weights import check_layout


def register_safe_loader() -> None:
    """Make mmengine load every checkpoint with the functions below.

    Paths and URLs use mmengine's public registration. The schemes that are
    resolved to one of these (``open-mmlab://``, ``mmcls://``, ``s3://``, ...)
    call two functions of mmengine by name, so these two are replaced.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(
        ('http://', 'https://'), load_from_http, force=True
    )
    mmengine_checkpoint._safe_torch_load = _load_any
    mmengine_checkpoint.load_from_http = load_from_http


def load_from_local(filename: str, map_location: MapLocation = None) -> dict:
    """Read a local file for mmengine, and convert a file of the authors.

    mmengine logs ``loader.__name__[10:]`` as the backend, so the function
    must be called ``load_from_...``.

    Args:
        filename: The path.
        map_location: As for ``torch.load``.

    Returns:
        The checkpoint, with OpenMMLab's tensor names.
    """
    checkpoint = read_checkpoint(filename, map_location)
    check_layout(checkpoint, str(filename))
    return convert_if_official(checkpoint)


def load_from_http(
    filename: str, map_location: MapLocation = None, **kwargs: Any
) -> dict:
    """Download, check and read a file for mmengine.

    Args:
        filename: The URL; it may end in ``#sha256=`` and the SHA-256.
        map_location: As for ``torch.load``.
        **kwargs: Ignored; mmengine passes options of its own loader.

    Returns:
        The checkpoint, with OpenMMLab's tensor names.
    """
    path = download_once(filename)
    with removed_if_refused(split_pin(filename)[0], path):
        return load_from_local(str(path), map_location)


def _load_any(
    file: Any, map_location: MapLocation = None, weights_only: Any = None
) -> dict:
    """Replace ``_safe_torch_load``, which gets a path or an open stream."""
    if isinstance(file, str | os.PathLike):
        return read_checkpoint(file, map_location)
    return decode_checkpoint(file.read(), 'the given stream', map_location)


@contextmanager
def removed_if_refused(url: str, path: Path) -> Iterator[None]:
    """Remove a downloaded file from the cache if the reader refuses it.

    Otherwise every later start would refuse it again, and another program
    could read it from the cache without a check.

    Args:
        url: Where the file came from.
        path: The file in the cache.

    Raises:
        DownloadError: If the file is damaged or not a checkpoint.
        UnsafeCheckpointError: If it needs code to be read.
    """
    refusal: Exception
    kind: type[Exception]
    try:
        yield
        return
    except UnsafeCheckpointError as error:
        refusal, kind = error, UnsafeCheckpointError
    except UnreadableCheckpointError as error:
        refusal, kind = error, DownloadError
    path.unlink(missing_ok=True)
    raise kind(
        f'The file from {printable(url, 1000)} is refused, and was removed '
        f'from the cache ({printable(str(path), 1000)}): {refusal} If the '
        'address is right, download the file in another way and put it '
        'there, or give its path.'
    ) from None
