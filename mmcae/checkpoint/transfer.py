# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Receive a file from a web server that may be slow, endless or wrong."""

import hashlib
import http.client
import socket
import string
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple

from mmcae.checkpoint.printable import printable

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


class Limits(NamedTuple):
    """How much a server may ask of us, in seconds and bytes.

    The largest checkpoint of a recipe (a large CAE with its optimizer) has
    4 GB; ``total`` is enough for it at 600 kB per second.

    Attributes:
        idle: Seconds in which at least one byte must come, also to connect.
        answer: Seconds until the headers have come, after all redirects.
        slow: Seconds in which at least 1000 bytes per second must come.
        total: Seconds until the whole file must have come.
        size: The largest file, announced or not.
    """

    idle: float = 15.0
    answer: float = 30.0
    slow: float = 30.0
    total: float = 7200.0
    size: int = 16 << 30


_BYTES_PER_SECOND = 1000


@contextmanager
def open_url(url: str, limits: Limits) -> Iterator[http.client.HTTPResponse]:
    """Ask a server for a file.

    Redirects are followed from http to http and https, and from https to
    https. Nothing of their pages is read.

    Args:
        url: ``http://`` or ``https://`` URL.
        limits: ``idle`` and ``answer`` hold.

    Yields:
        The reply; its headers have come.

    Raises:
        OSError: If there is no answer, or one that is not a file.
        ValueError: If a redirect leads to something that is not allowed.
        HTTPException: If the answer is not HTTP.
    """
    connections: list[http.client.HTTPConnection] = []
    late = threading.Event()

    def cut() -> None:
        # A server may send its headers so slowly that no read times out.
        late.set()
        for connection in connections:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limits.answer, cut)
    timer.daemon = True
    timer.start()
    try:
        reply = _follow(_make_opener(connections), url, limits.idle)
    except Exception:
        if late.is_set():
            raise TimeoutError(
                f'no complete answer in {limits.answer:g} seconds'
            ) from None
        raise
    finally:
        timer.cancel()
    with reply:
        yield reply


def receive(
    reply: http.client.HTTPResponse, file: BinaryIO, limits: Limits
) -> str:
    """Write the body of a reply into a file.

    Args:
        reply: From `open_url`.
        file: An open file.
        limits: ``slow``, ``total`` and ``size`` hold.

    Returns:
        The SHA-256 of the body, 64 hexadecimal digits.

    Raises:
        OSError: If a limit of time is exceeded, or the disk is full.
        ValueError: If the file is too large, or is a web page.
        EOFError: If less has come than was announced.
    """
    announced = reply.headers.get('Content-Length')
    if announced is not None and int(announced) > limits.size:
        raise ValueError(
            f'it has {int(announced):,} bytes, more than {limits.size:,}'
        )
    digest, received = hashlib.sha256(), 0
    start = window = time.monotonic()
    in_window = 0
    # `read` would wait for a whole chunk, however slow the server is.
    while chunk := reply.read1(_CHUNK_BYTES):
        if not received and _is_page(chunk):
            raise ValueError('the server sent a web page, not a checkpoint')
        file.write(chunk)
        digest.update(chunk)
        received += len(chunk)
        in_window += len(chunk)
        now = time.monotonic()
        if received > limits.size:
            raise ValueError(f'it has more than {limits.size:,} bytes')
        if now - start > limits.total:
            raise TimeoutError(
                f'only {received:,} bytes came in {limits.total:g} seconds'
            )
        if now - window > limits.slow:
            if in_window < _BYTES_PER_SECOND * limits.slow:
                raise TimeoutError(
                    f'only {in_window:,} bytes came in the last '
                    f'{limits.slow:g} seconds'
                )
            window, in_window = now, 0
    if announced is not None and received != int(announced):
        raise EOFError(f'{received:,} of {int(announced):,} bytes came')
    return digest.hexdigest()


def _is_page(start: bytes) -> bool:
    """Whether a body begins like HTML or XML.

    The first eight bytes of a safetensors file are a number, and the first
    one can be a ``<``. But at least one of the others is zero then.
    """
    return start.lstrip()[:1] == b'<' and 0 not in start[:8]


def _make_opener(
    connections: list[http.client.HTTPConnection],
) -> urllib.request.OpenerDirector:
    """Make an opener for http and https alone, which follows no redirect.

    Args:
        connections: Gets every connection that is made.
    """

    def noted(kind: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> http.client.HTTPConnection:
            connection = kind(*args, **kwargs)
            connections.append(connection)
            return connection

        return make

    class Plain(urllib.request.HTTPHandler):
        def do_open(self, http_class: Any, *args: Any, **kwargs: Any) -> Any:
            return super().do_open(noted(http_class), *args, **kwargs)

    class Encrypted(urllib.request.HTTPSHandler):
        def do_open(self, http_class: Any, *args: Any, **kwargs: Any) -> Any:
            return super().do_open(noted(http_class), *args, **kwargs)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        Plain(),
        Encrypted(),
    ):
        opener.add_handler(handler)
    return opener


def _follow(
    opener: urllib.request.OpenerDirector, url: str, idle: float
) -> Any:
    """Open a URL, or what it redirects to."""
    for _ in range(_MAX_REDIRECTS + 1):
        request = urllib.request.Request(url, headers={'User-Agent': 'mmcae'})
        try:
            return opener.open(request, timeout=idle)
        except urllib.error.HTTPError as error:
            target = error.headers.get('Location')
            if error.code not in _REDIRECTS or target is None:
                raise
            error.close()
            url = _redirected(url, target)
    raise ValueError(f'it redirects more than {_MAX_REDIRECTS} times')


def _redirected(url: str, target: str) -> str:
    # Headers are Latin-1; a URL is ASCII.
    target = urllib.parse.quote(
        target, encoding='latin-1', safe=string.punctuation
    )
    found = urllib.parse.urljoin(url, target)
    allowed = ('https',) if url.startswith('https:') else ('http', 'https')
    if urllib.parse.urlparse(found).scheme not in allowed:
        raise ValueError(
            f'it redirects to {printable(found, 200)}, which is not '
            f'{" or ".join(allowed)}'
        )
    return found
