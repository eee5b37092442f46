# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Serve the page to browsers on this machine, and to nobody else."""

import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmcae.app.explorer import Explorer

HOST = '127.0.0.1'
#: The first port that is tried if none is given.
FIRST_PORT = 7860
_PORTS_TRIED = 100

#: The browser asks no other host for anything, whatever the page contains.
CONTENT_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)


def open_socket(port: int | None = None) -> socket.socket:
    """Reserve a port of this machine.

    Args:
        port: The port. None takes the first free one from 7860.

    Raises:
        OSError: If it is in use, or not allowed.
        ValueError: If it is no port.
    """
    if port is not None and not 0 <= port < 65536:
        raise ValueError(f'a port is a number from 0 to 65535, got {port}')
    tried = range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED)
    for number in tried if port is None else [port]:
        found = socket.socket()
        # A port that was in use a minute ago may be used again.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, number))
            return found
        except OSError as error:
            found.close()
            if port is not None:
                raise OSError(
                    f'port {port} cannot be used ({error.strerror}): choose '
                    'another one with --port, or leave the option out'
                ) from None
    raise OSError(
        f'no port from {tried.start} to {tried.stop - 1} is free: give one '
        'with --port'
    )


def serve(
    explorer: Explorer,
    listening: socket.socket,
    ready: Callable[[str], Any],
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        explorer: The model.
        listening: From `open_socket`.
        ready: Called with the address when the page can be opened.
    """
    with tempfile.TemporaryDirectory(prefix='mmcae_app_') as folder:
        app = build_app(explorer, Path(folder))
        import uvicorn

        class Server(uvicorn.Server):
            """Says when it listens, and ends without a traceback."""

            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets)
                ready(f'http://{HOST}:{listening.getsockname()[1]}')

            async def shutdown(self, sockets: Any = None) -> None:
                # The connections of open pages are cut, which is no error.
                logging.getLogger('uvicorn.error').setLevel(logging.CRITICAL)
                await super().shutdown(sockets)

        server = Server(
            uvicorn.Config(
                app,
                log_level='warning',
                # An open page keeps a connection; it must not delay the end.
                timeout_graceful_shutdown=1,
            )
        )
        with suppress(KeyboardInterrupt):  # the way to end a server
            server.run(sockets=[listening])


def build_app(explorer: Explorer, folder: Path) -> Any:
    """Build the web application.

    Args:
        explorer: The model.
        folder: Where uploads and other temporary files go.

    Returns:
        An ASGI application.
    """
    # Gradio reads these when it is imported.
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['GRADIO_TEMP_DIR'] = str(folder / 'uploads')
    os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
    # About names that gradio uses; the user of the page can change nothing.
    warnings.filterwarnings('ignore', module='gradio')
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from mmcae.app.actions import Actions
    from mmcae.app.examples import find_examples
    from mmcae.app.page import build_page, css, theme
    from mmcae.app.uploads import MAX_BYTES

    examples = find_examples(folder, explorer.trained_on, explorer.paths)
    page = build_page(Actions(explorer, examples))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # A page of another site cannot reach this one under a name of its own.
    app.add_middleware(
        TrustedHostMiddleware,  # type: ignore[arg-type]
        allowed_hosts=[HOST, 'localhost'],
    )
    app.add_middleware(WithPolicy)  # type: ignore[arg-type]
    return gr.mount_gradio_app(
        app,
        page,
        path='/',
        # More than our own limit, so that our own sentence names that one.
        max_file_size=5 * MAX_BYTES,
        footer_links=[],
        show_error=False,
        theme=theme(),
        css=css(),
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )


class WithPolicy:
    """Adds `CONTENT_POLICY` to every answer.

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        headers: Sequence[tuple[bytes, bytes]] = (
            (b'content-security-policy', CONTENT_POLICY.encode()),
            (b'referrer-policy', b'no-referrer'),
            (b'x-content-type-options', b'nosniff'),
        )

        async def send_with_headers(message: Any) -> None:
            if message['type'] == 'http.response.start':
                message = dict(message)
                message['headers'] = [*message.get('headers', ()), *headers]
            await send(message)

        await self.app(scope, receive, send_with_headers)
