# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a URL to a checked file in the cache, within a limited time."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, get_dist_info
from mmengine.logging import print_log

from mmcae.checkpoint.files import atomic_write, sha256_of
from mmcae.checkpoint.printable import printable

TIMEOUT = 15.0
# A server that never stops sending must not fill the disk or block the run.
# The largest checkpoint of a recipe (a large CAE with its optimizer) has 4 GB:
# two hours are enough for it at 600 kB per second.
MAX_SECONDS = 7200.0
MAX_BYTES = 16 << 30
_CHUNK_BYTES = 1 << 20


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

    The time to connect and the time of each read are limited. The file must
    have the size that the server announced. If its name has the first digits
    of a SHA-256, they must match, for a new and for a cached file.

    Args:
        url: ``http://`` or ``https://`` URL.
        cache_dir: Folder; torch.hub's ``checkpoints`` folder if None.
        timeout: Seconds to wait for the server.

    Returns:
        The file.

    Raises:
        DownloadError: If the file could not be downloaded. The message names
            the URL, the cache path and what to do offline.
    """
    target = cached_path(url, cache_dir)
    wanted = hash_in_name(target.name)
    if target.is_file():
        if wanted is None or sha256_of(target).startswith(wanted):
            return target
        print_log(
            f'{target} is damaged (its SHA-256 does not begin with {wanted}, '
            'as its name says); it is removed and downloaded again.',
            logger='current',
            level=30,
        )
        target.unlink(missing_ok=True)
    print_log(f'Downloading {url} to {target}', logger='current')
    try:
        _fetch(url, target, wanted, timeout)
    except (OSError, ValueError, EOFError, http.client.HTTPException) as error:
        reason = printable(str(getattr(error, 'reason', None) or error))
        raise DownloadError(
            f'Cannot download {url} ({type(error).__name__}: {reason}); '
            f'to work offline, download it elsewhere and put it at {target}, '
            'or give the path of a local file instead of the URL.'
        ) from None
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


def _fetch(url: str, target: Path, wanted: str | None, timeout: float) -> None:
    request = urllib.request.Request(url, headers={'User-Agent': 'mmcae'})
    digest, received = hashlib.sha256(), 0
    deadline = time.monotonic() + MAX_SECONDS
    with (
        urllib.request.urlopen(request, timeout=timeout) as reply,
        atomic_write(target) as file,
    ):
        announced = reply.headers.get('Content-Length')
        # `read` would wait for a whole chunk, however slow the server is.
        while chunk := reply.read1(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if received > MAX_BYTES:
                raise ValueError(f'it has more than {MAX_BYTES} bytes')
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f'{received} bytes came in {MAX_SECONDS:g} seconds'
                )
        if announced is not None and received != int(announced):
            raise EOFError(f'{received} of {announced} bytes came')
        if wanted is not None and not digest.hexdigest().startswith(wanted):
            raise ValueError(
                f'SHA-256 {digest.hexdigest()[:8]}... instead of {wanted}...'
            )
