# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a URL to a checked file in the cache, within a limited time."""

import http.client
import logging
import os
import re
import urllib.error
import urllib.parse
from datetime import datetime
from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, get_dist_info
from mmengine.logging import print_log

from mmcae.checkpoint.files import atomic_write, sha256_of
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.transfer import Limits, open_url, receive

LIMITS = Limits()
TIMEOUT = LIMITS.idle


class DownloadError(RuntimeError):
    """A file could not be downloaded, or is not what its name promises."""


def hash_in_name(name: str) -> str | None:
    """Find the first digits of the SHA-256 in a file name.

    Args:
        name: File name, e.g. ``cae_20220825-404a1929.pth``.

    Returns:
        The eight hexadecimal digits, or None if the name has none. A date in
        their place does not count.
    """
    found = re.search(r'-([0-9a-f]{8})\.(pth|pt|pkl|safetensors)$', name)
    if found is None:
        return None
    try:
        datetime.strptime(found[1], '%Y%m%d')
    except ValueError:
        return found[1]
    return None


def split_pin(url: str) -> tuple[str, str | None]:
    """Split a pinned SHA-256 off a URL.

    Args:
        url: A URL, which may end in ``#sha256=`` and 64 hexadecimal digits.

    Returns:
        The URL without that end, and the digits in lower case or None.

    Raises:
        DownloadError: If these are not 64 hexadecimal digits.
    """
    plain, found, digest = url.partition('#sha256=')
    if not found:
        return url, None
    if re.fullmatch('[0-9a-fA-F]{64}', digest) is None:
        raise DownloadError(
            f'{printable(url, 1000)} must end in 64 hexadecimal digits, but '
            f"sha256 is '{printable(digest, 100)}'."
        )
    return plain, digest.lower()


def cached_path(url: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Say where the file of a URL is cached.

    Args:
        url: The URL.
        cache_dir: Folder; torch.hub's ``checkpoints`` folder if None.

    Returns:
        The path, whether or not the file exists.

    Raises:
        DownloadError: If the URL does not end in a file name.
    """
    if cache_dir is None:
        cache_dir = Path(torch.hub.get_dir()) / 'checkpoints'
    name = os.path.basename(urllib.parse.urlparse(url).path)
    if name in ('', '.', '..'):
        raise DownloadError(f'{printable(url, 1000)} does not name a file.')
    return Path(cache_dir).expanduser() / name


def download(
    url: str,
    cache_dir: str | os.PathLike | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """Download a file once; later calls return the cached file.

    Times and sizes are limited, see `Limits`. The file must have the size
    that the server announced. If the URL ends in ``#sha256=`` and 64
    hexadecimal digits, the file must have this SHA-256; otherwise, if its
    name has the first digits of one, these. Both hold for a new and for a
    cached file. A file that does not match is removed.

    The first download of a file that is not pinned logs its SHA-256.

    Args:
        url: ``http://`` or ``https://`` URL, with or without a pin.
        cache_dir: Folder; torch.hub's ``checkpoints`` folder if None.
        timeout: Seconds to wait for a byte of the server.

    Returns:
        The file.

    Raises:
        DownloadError: If the file could not be downloaded. The message names
            the URL, the cache path and what to do offline.
    """
    url, pin = split_pin(url)
    target = cached_path(url, cache_dir)
    wanted = pin or hash_in_name(target.name)
    if target.is_file():
        if wanted is None:
            return target
        found = sha256_of(target)
        if found.startswith(wanted):
            return target
        print_log(
            f'{target} is not the right file: its SHA-256 is {found}, but '
            f'{_source_of(wanted)} {wanted}. It is removed and downloaded '
            'again.',
            logger='current',
            level=logging.WARNING,
        )
        target.unlink(missing_ok=True)
    print_log(f'Downloading {url} to {target}', logger='current')
    try:
        digest = _fetch(url, target, wanted, timeout)
    except (OSError, ValueError, EOFError, http.client.HTTPException) as error:
        reason = str(error)
        if not isinstance(error, urllib.error.HTTPError):
            reason = str(getattr(error, 'reason', error))
        raise DownloadError(
            f'Cannot download {printable(url, 1000)} '
            f'({type(error).__name__}: {printable(reason)}); nothing is kept. '
            f'To work offline, download it elsewhere and put it at {target}, '
            'or give the path of a local file instead of the URL.'
        ) from None
    if pin is None:
        print_log(
            f'The SHA-256 of {target.name} is {digest}. To accept only this '
            f"file from now on, write '{url}#sha256={digest}' in the config.",
            logger='current',
        )
    return target


def download_once(url: str) -> Path:
    """Download a file in a distributed run: first rank 0, then the others.

    Args:
        url: ``http://`` or ``https://`` URL.

    Returns:
        The file. Every node downloads its own copy.

    Raises:
        DownloadError: On every rank, if rank 0 could not download it.
    """
    rank, world_size = get_dist_info()
    failure: list[str | None] = [None]
    if rank == 0:
        try:
            download(url)
        except DownloadError as error:
            failure = [str(error)]
    if world_size > 1:
        broadcast_object_list(failure)
    if failure[0] is not None:
        raise DownloadError(failure[0])
    return download(url)


def _fetch(url: str, target: Path, wanted: str | None, timeout: float) -> str:
    """Download into the cache; return the SHA-256."""
    limits = LIMITS._replace(idle=timeout)
    with open_url(url, limits) as reply, atomic_write(target) as file:
        digest = receive(reply, file, limits)
        if wanted is not None and not digest.startswith(wanted):
            raise ValueError(
                f'its SHA-256 is {digest}, but {_source_of(wanted)} {wanted}'
            )
    return digest


def _source_of(wanted: str) -> str:
    """Say where a SHA-256, or its start, was given."""
    return 'the pin is' if len(wanted) == 64 else 'its name says'
