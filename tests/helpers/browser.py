# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A headless Chromium, driven through chromedriver.

chromedriver speaks WebDriver (https://www.w3.org/TR/webdriver2/): JSON over
HTTP. A test needs a dozen of its calls, which are written here, so that no
package is needed.
"""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The key under which WebDriver names an element.
_ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'
_FLAGS = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic'),
    *('--no-first-run', '--disable-background-networking'),
    *('--disable-component-update', '--disable-sync'),
    *('--disable-dev-shm-usage', '--no-proxy-server'),
)


class BrowserError(Exception):
    """What the driver says."""


def missing_browser() -> str:
    """Why there is no browser; '' if there is one."""
    for program in ('chromium', 'chromedriver'):
        if shutil.which(program) is None:
            return (
                f'needs {program} (Debian: apt-get install chromium '
                'chromium-driver)'
            )
    return ''


class Browser:
    """One window of a browser with its own profile.

    Args:
        driver: Address of the driver.
        profile: An empty folder for the profile.
        size: Width and height of the window.
        dark: Whether pages are told that the user prefers dark colors.
    """

    def __init__(
        self,
        driver: str,
        profile: Path,
        size: tuple[int, int] = (1400, 1000),
        dark: bool = False,
    ) -> None:
        flags = [*_FLAGS, f'--user-data-dir={profile}']
        flags.append('--window-size={},{}'.format(*size))
        if dark:
            flags.append('--blink-settings=preferredColorScheme=0')
        options = dict(args=flags, binary=shutil.which('chromium'))
        wanted = {
            'browserName': 'chrome',
            'goog:chromeOptions': options,
            'goog:loggingPrefs': {'browser': 'ALL'},
        }
        self._url = f'{driver}/session'
        session = self._ask(
            'POST', '', dict(capabilities=dict(alwaysMatch=wanted))
        )
        self._url += f'/{session["sessionId"]}'

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)['value']
        except urllib.error.HTTPError as error:
            raise BrowserError(json.load(error)['value']['message']) from None

    def open(self, url: str) -> None:
        """Load a page."""
        self._ask('POST', '/url', dict(url=url))

    def run(self, script: str, *args: Any) -> Any:
        """Run a function body in the page, and return its result."""
        return self._ask(
            'POST', '/execute/sync', dict(script=script, args=args)
        )

    def find(self, selector: str) -> dict:
        """Return the first element of a CSS selector."""
        using = dict(using='css selector', value=selector)
        return self._ask('POST', '/element', using)

    def type(self, selector: str, text: str) -> None:
        """Type into an element; into a file input, the path of a file."""
        number = self.find(selector)[_ELEMENT]
        self._ask('POST', f'/element/{number}/value', dict(text=text))

    def click(self, selector: str) -> None:
        """Click on an element, scrolled into view."""
        element = self.find(selector)
        self.run('arguments[0].scrollIntoView({block: "center"})', element)
        self._ask('POST', f'/element/{element[_ELEMENT]}/click', {})

    def drag(self, selector: str, *places: tuple[float, float]) -> None:
        """Press the pointer at a place of an element, and drag it on.

        Args:
            selector: The element.
            *places: Shares of its width and height. One place is a click.
        """
        element = self.find(selector)
        self.run('arguments[0].scrollIntoView({block: "center"})', element)
        left, top, width, height = self.run(
            'const b = arguments[0].getBoundingClientRect();'
            'return [b.left, b.top, b.width, b.height]',
            element,
        )
        moves: list[dict] = [
            dict(
                type='pointerMove',
                duration=30,
                x=round(left + x * width),
                y=round(top + y * height),
            )
            for x, y in places
        ]
        press, lift = (
            dict(type=kind, button=0) for kind in ('pointerDown', 'pointerUp')
        )
        steps = [moves[0], press, *moves[1:], lift]
        pointer = dict(type='pointer', id='mouse', actions=steps)
        self._ask('POST', '/actions', dict(actions=[pointer]))

    def text(self, selector: str) -> str:
        """The text of the first element of a selector; '' without one."""
        script = 'return document.querySelector(arguments[0])?.innerText || ""'
        return self.run(script, selector)

    def wait(
        self, condition: Callable[[], Any], what: str, seconds: float = 30
    ) -> Any:
        """Wait until a condition is true, and return its value.

        Raises:
            AssertionError: If it does not become true.
        """
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(BrowserError):
                found = condition()
                if found:
                    return found
            assert time.monotonic() < end, f'waited in vain for {what}'
            time.sleep(0.1)

    def console(self) -> list[str]:
        """Warnings and errors of the page since the last call."""
        entries = self._ask('POST', '/se/log', dict(type='browser'))
        return [
            entry['message']
            for entry in entries
            if entry['level'] in ('WARNING', 'SEVERE')
        ]

    def hosts(self) -> set[str]:
        """The hosts that the page has asked for anything, with their ports."""
        return set(
            self.run(
                'return performance.getEntriesByType("resource")'
                '.map((e) => new URL(e.name)).filter((u) => u.host)'
                '.map((u) => u.host)'
            )
        )

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window."""
        path.write_bytes(base64.b64decode(self._ask('GET', '/screenshot')))

    def close(self) -> None:
        """Close the window."""
        with contextlib.suppress(BrowserError, OSError):
            self._ask('DELETE', '')


@contextmanager
def running_driver(folder: Path) -> Iterator[Callable[..., Browser]]:
    """Start chromedriver.

    Args:
        folder: Where profiles and the log go.

    Yields:
        A function that opens a browser; see `Browser` for its arguments. All
        browsers are closed at the end.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ['chromedriver', f'--port={port}', f'--log-path={folder / "log"}'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Chromium writes below the home folder as well.
        env={**os.environ, 'HOME': str(folder)},
    )
    browsers: list[Browser] = []

    def open_browser(**options: Any) -> Browser:
        profile = folder / f'profile_{len(browsers)}'
        end = time.monotonic() + 30
        while True:
            try:
                browser = Browser(
                    f'http://127.0.0.1:{port}', profile, **options
                )
                break
            except OSError:  # the driver does not listen yet
                assert time.monotonic() < end, 'chromedriver does not start'
                time.sleep(0.1)
        browsers.append(browser)
        return browser

    try:
        yield open_browser
    finally:
        for browser in browsers:
            browser.close()
        process.terminate()
        process.wait()
