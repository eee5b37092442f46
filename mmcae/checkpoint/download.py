# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Downloads that end: with a checked file in the cache, or an error."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import torch
from mmengine.dist import broadcast_object_list, get_dist_info
from mmengine.logging import print_log

from mmcae.checkpoint.printable import printable

TIMEOUT = 15.0
# A server that never ends must not fill the disk or hold the run. The largest
# checkpoint of a recipe, large with its optimizer, has 4 GB; two hours are
# 600 kB a second for it.
MAX_SECONDS = 7200.0
MAX_BYTES = 16 << 30
_CHUNK = 1 << 20


class DownloadError(RuntimeError):
    """A file could not be fetched, or is not the file its name promises."""


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when it is complete.

    Args:
        path (str | PathLike): Final name; its folder is created.

    Yields:
        BinaryIO: The file to write to, in the same folder. It is synced to
        disk and renamed at the end, or removed if an exception leaves.
    """
    final = Path(path).expanduser()
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f'.{final.name}.{os.getpid()}.part')
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def hash_in_name(name: str) -> str | None:
    """Read the first digits of a file's SHA-256 off its name.

    Args:
        name (str): File name, e.g. ``cae_20220825-404a1929.pth``.

    Returns:
        str | None: The eight hexadecimal digits, or None if the name has
        none (a date in their place does not count).
    """
    found = re.search(r'-([0-9a-f]{8})\.(pth|pt|pkl|safetensors)$', name)
    if found is None:
        return None
    try:
        datetime.strptime(found[1], '%Y%m%d')
    except ValueError:
        return found[1]
    return None


def sha256_of(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits.

    Args:
        path (str | PathLike): The file.

    Returns:
        str: 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def cached_path(url: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Tell where the file of a URL is kept.

    Args:
        url (str): The URL.
        cache_dir (str | PathLike, optional): Folder; torch.hub's
            ``checkpoints`` folder if None.

    Returns:
        Path: The path, whether or not the file is there.
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
    """Fetch a file once; later calls return the cached one.

    Connecting and each read are limited in time. The size must be the one
    announced and, where the name carries them, the first digits of the
    SHA-256 must match, both for a new and for a cached file.

    Args:
        url (str): ``http://`` or ``https://`` URL.
        cache_dir (str | PathLike, optional): Folder; torch.hub's if None.
        timeout (float): Seconds to wait for the server. Defaults to 15.

    Returns:
        Path: The file.

    Raises:
        DownloadError: If there is no such file in the end. The message
            names the URL, the cache path and what to do offline.
    """
    target = cached_path(url, cache_dir)
    wanted = hash_in_name(target.name)
    if target.is_file():
        if wanted is None or sha256_of(target).startswith(wanted):
            return target
        print_log(
            f'{target} is damaged (its SHA-256 does not begin with {wanted}, '
            'as its name says); it is removed and fetched again.',
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
            f'to work offline, fetch it elsewhere and put it at {target}, '
            'or give the path of a local file instead of the URL.'
        ) from None
    return target


def download_once(url: str) -> Path:
    """Fetch a file in a distributed run: first rank 0, then the others.

    Args:
        url (str): ``http://`` or ``https://`` URL.

    Returns:
        Path: The file; other nodes fetch their own copy.

    Raises:
        DownloadError: On every rank, if rank 0 could not fetch it.
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
        # Not `read`, which waits for a whole chunk however slow it comes.
        while chunk := reply.read1(_CHUNK):
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
