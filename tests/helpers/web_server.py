# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A web server on this machine, and an empty download cache."""

import contextlib
import http.server
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch


@dataclass
class Page:
    """The answer to a request.

    Attributes:
        body: What the server sends first.
        length: The Content-Length that it announces; none if None.
        chunks: What it sends after the body.
        pause: Seconds between the chunks.
        redirect: Where the answer sends the client instead.
        raw: Whether the answer is the chunks alone, without any header.
    """

    body: bytes = b''
    length: int | None = None
    chunks: Iterable[bytes] = ()
    pause: float = 0.0
    redirect: str | None = None
    raw: bool = False


@dataclass
class WebServer:
    """A running server.

    Attributes:
        url: The address of the server.
        cache: The folder where downloads are cached.
        pages: The answers, by the name of the file; others are 404.
    """

    url: str
    cache: Path
    pages: dict[str, Page] = field(default_factory=dict)

    def publish(
        self, name: str, body: bytes, length: int | None = None
    ) -> str:
        """Add a page that announces its length; returns its URL."""
        self.pages[name] = Page(body, length or len(body))
        return f'{self.url}/{name}'


@contextmanager
def web_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WebServer]:
    """Start a server, and use an empty cache in a folder."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(folder / 'hub'))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = server.pages.get(self.path[1:])
            if page is None:
                self.send_error(404)
                return
            if page.redirect is not None:
                self.send_response(302)
                self.send_header('Location', page.redirect)
            elif not page.raw:
                self.send_response(200)
            if page.length is not None:
                self.send_header('Content-Length', str(page.length))
            if not page.raw:
                self.end_headers()
                self.wfile.write(page.body)
            with contextlib.suppress(OSError):  # the client has left
                for chunk in page.chunks:
                    self.wfile.write(chunk)
                    time.sleep(page.pause)

        def log_message(self, *args):
            pass

    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    url = f'http://127.0.0.1:{web.server_address[1]}'
    server = WebServer(url, folder / 'hub/checkpoints')
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield server
    web.shutdown()
    web.server_close()
