# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Download from servers that are slow, endless, wrong or not there."""

import itertools
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from helpers.web_server import Page, WebServer, web_server
from mmengine.runner import CheckpointLoader
from torch import nn

from mmcae.checkpoint import download
from mmcae.checkpoint.files import sha256_of
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights

from .runs import Row, Settings

#: Instead of 15, 30, 30 and 7200 seconds, and 16 GiB.
LIMITS = download.Limits(
    idle=0.5, answer=1.0, slow=1.0, total=2.0, size=1 << 22
)
NAME = 'weights.pth'


def download_rows(settings: Settings) -> Iterator[Row]:
    """Load weights from bad servers, as a tokenizer and as a checkpoint."""
    folder = settings.folder / 'downloads'
    folder.mkdir()
    torch.save(nn.Linear(2, 3).state_dict(), folder / 'good.pth')
    good = (folder / 'good.pth').read_bytes()
    kept, kinds, longest = 0, 0, 0.0
    with (
        pytest.MonkeyPatch.context() as patch,
        web_server(folder, patch) as server,
        _silent_port() as silent,
    ):
        patch.setattr(download, 'LIMITS', LIMITS)
        patch.setattr(download.download, '__defaults__', (None, LIMITS.idle))
        for load in (_load_tokenizer, _load_checkpoint):
            for page in _bad_pages(good):
                server.pages[NAME] = page()
                start = time.monotonic()
                kept += _is_refused(load, f'{server.url}/{NAME}', server)
                longest = max(longest, time.monotonic() - start)
                kinds += 1
            for host in (f'127.0.0.1:{silent}', 'no.such.host.invalid'):
                kept += _is_refused(load, f'http://{host}/{NAME}', server)
                kinds += 1
            for kept_now in _pins(load, server, folder):
                kept += kept_now
                kinds += 1
    yield Row(
        'a bad download ends in time, says what to do, and leaves no file',
        kinds,
        kept,
        'closed half way, slow, endless, a page, an unsafe or damaged file, '
        'redirects, no answer, another SHA-256 than pinned; as tokenizer and '
        f'as checkpoint; limits shortened, {longest:.1f} s at most',
    )


def _bad_pages(good: bytes) -> list[Callable[[], Page]]:
    half, size = good[: len(good) // 2], len(good)
    return [
        lambda: Page(half),
        lambda: Page(half, length=size),
        lambda: Page(b''),
        lambda: Page(b'<html>Please log in</html>'),
        lambda: Page(b'<html>', chunks=itertools.repeat(b'x' * 999)),
        lambda: Page(b'text'),
        lambda: Page(pickle.dumps(print)),
        lambda: Page(length=1 << 40, chunks=itertools.repeat(b'x' * 99)),
        lambda: Page(chunks=itertools.repeat(b'x' * 65536)),
        lambda: Page(chunks=itertools.repeat(b'x'), pause=0.1),
        lambda: Page(chunks=itertools.repeat(b'x' * 200), pause=0.1),
        lambda: Page(chunks=itertools.repeat(b'x'), pause=0.1, raw=True),
        lambda: Page(chunks=[b'x'], pause=9),
        lambda: Page(redirect=f'/{NAME}'),
        lambda: Page(redirect='/nowhere.pth'),
        lambda: Page(redirect='file:///etc/passwd'),
        lambda: Page(redirect='ftp://127.0.0.1/x.pth'),
    ]


def _pins(load: Callable, server: WebServer, folder) -> Iterator[bool]:
    """A wrong pin, a damaged file in the cache, and a right pin."""
    content = (folder / 'good.pth').read_bytes()
    pin = sha256_of(folder / 'good.pth')
    server.pages[NAME] = Page(content)
    url = f'{server.url}/{NAME}'
    yield _is_refused(load, f'{url}#sha256={"0" * 64}', server)
    for cached in (content[:-1] + b'x', b''):
        server.cache.mkdir(parents=True, exist_ok=True)
        (server.cache / NAME).write_bytes(cached)
        load(f'{url}#sha256={pin}')
        yield (server.cache / NAME).read_bytes() == content
    server.pages.clear()
    (server.cache / NAME).write_bytes(content[:-1] + b'x')
    yield _is_refused(load, f'{url}#sha256={pin}', server)


def _is_refused(load: Callable, url: str, server: WebServer) -> bool:
    plain = url.partition('#')[0]
    try:
        load(url)
    except (download.DownloadError, ValueError) as error:
        text = str(error)
        said = plain in text and str(server.cache / NAME) in text
        said = said and 'put it' in text
    else:
        return False
    left = server.cache.exists() and [*server.cache.iterdir()]
    return said and not left


def _load_tokenizer(url: str) -> None:
    load_tokenizer_weights(nn.Linear(2, 3), url)


def _load_checkpoint(url: str) -> None:
    CheckpointLoader.load_checkpoint(url, 'cpu')


@contextmanager
def _silent_port() -> Iterator[int]:
    """Yield a port that accepts connections and never answers."""
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        yield silent.getsockname()[1]
