# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The page in a browser: upload, paint, click, errors, two users, Ctrl-C."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import missing_browser, running_driver
from PIL import Image

from mmcae.app.examples import EMOJI
from mmcae.app.markup import attention_html, reconstruction_html
from mmcae.app.uploads import read_upload

GRADIO = importlib.util.find_spec('gradio')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        GRADIO is None, reason="needs gradio: pip install 'mmcae[demo]'"
    ),
    pytest.mark.skipif(bool(missing_browser()), reason=missing_browser()),
]

NOTICE = '#notice .cae-error'
#: Starts the command, and writes down whom the server wants to reach.
START = """
import signal, sys

def listen(event, args):
    if event in ('socket.connect', 'socket.getaddrinfo'):
        target = str(args[1] if event == 'socket.connect' else args[0])
        if '127.0.0.1' not in target:
            print('wants to reach', target, flush=True)

sys.addaudithook(listen)
signal.signal(signal.SIGINT, signal.default_int_handler)
from mmcae_command import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class App:
    """A running ``mmcae app``."""

    url: str
    process: subprocess.Popen
    log: Path

    @property
    def port(self):
        return self.url.rpartition(':')[2]


@pytest.fixture(scope='module')
def app(tmp_path_factory):
    log = tmp_path_factory.mktemp('app') / 'log'
    command = [sys.executable, '-c', START, 'app', '--folder', str(EMOJI)]
    with log.open('w') as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, 'TMPDIR': str(log.parent)},
        )
    try:
        end = time.monotonic() + 90
        while not (found := re.search(r'open (http\S+)', log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield App(found[1], process, log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope='module')
def open_browser():
    # A socket of Chromium needs a short path.
    with (
        tempfile.TemporaryDirectory() as folder,
        running_driver(Path(folder)) as opened,
    ):
        yield opened


@pytest.fixture(scope='module')
def browser(app, open_browser):
    return opened_page(app, open_browser)


def opened_page(app, open_browser):
    browser = open_browser()
    browser.open(app.url)
    browser.wait(lambda: browser.text('#neighbors b'), 'the page')
    browser.wait(lambda: mask_of(browser), 'the canvas')
    return browser


def mask_of(browser):
    """The mask on the canvas: a digit for each patch, row by row."""
    return browser.run(
        'return document.querySelector("#mask-canvas canvas").dataset.mask'
    )


def middle(row, column):
    """The place of a patch on a canvas."""
    return (column + 0.5) / 6, (row + 0.5) / 6


def pictures(browser, part):
    """The pictures of a part of the page, by their titles."""
    return browser.run(
        'return Object.fromEntries(Array.from('
        'document.querySelectorAll(arguments[0] + " img"), '
        '(i) => [i.alt, i.src]))',
        part,
    )


def prediction_of(explorer, browser, path):
    """The pictures of a file with the mask on the canvas, without a page."""
    cells = np.array([digit == '1' for digit in mask_of(browser)])
    result = explorer.reconstruct(read_upload(path), cells.reshape(6, 6))
    return set(re.findall(r'src="([^"]+)"', reconstruction_html(result, 0)))


def masked(browser):
    return browser.text('#prediction .cae-numbers b')


def changed(browser, part, before):
    return browser.wait(
        lambda: (now := pictures(browser, part)) != before and now,
        f'another {part}',
    )


def test_page__shows_everything_at_once(browser):
    assert set(pictures(browser, '#prediction')) == {
        *('Visible', 'Predicted', 'Pasted back', 'Best possible'),
        *('Token right?', 'Alignment'),
    }
    assert {'mean of heads', 'head 1', 'rollout'} <= set(
        pictures(browser, '#attention')
    )
    assert len(pictures(browser, '#neighbors')) == 8
    assert masked(browser) == '18 of 36'


def test_stroke__masks_patches_and_predicts_them(browser):
    before, mask = pictures(browser, '#prediction'), mask_of(browser)
    start = mask.index('0') // 6, mask.index('0') % 6
    row = [middle(start[0], column) for column in range(6)]
    browser.drag('#mask-canvas canvas', middle(*start), *row)
    after = changed(browser, '#prediction', before)
    assert after['Visible'] != before['Visible']
    painted = list(mask)
    painted[6 * start[0] : 6 * start[0] + 6] = '1' * 6
    assert mask_of(browser) == ''.join(painted)
    assert masked(browser) == f'{painted.count("1")} of 36'
    # A stroke that begins on a masked patch unmasks.
    browser.drag('#mask-canvas canvas', middle(*start))
    browser.wait(
        lambda: masked(browser) == f'{painted.count("1") - 1} of 36',
        'one patch less',
    )


def test_masking_everything__is_a_sentence(browser):
    mask, before = mask_of(browser), pictures(browser, '#prediction')
    start = mask.index('0') // 6, mask.index('0') % 6
    # There and back, over all patches.
    path = [
        middle(row, column if row % 2 == 0 else 5 - column)
        for row in range(6)
        for column in range(6)
    ]
    browser.drag('#mask-canvas canvas', middle(*start), *path)
    browser.wait(lambda: browser.text(NOTICE), 'the sentence')
    assert browser.text(NOTICE) == (
        'The mask masks all of the 36 patches; some must be masked and some '
        'visible.'
    )
    assert pictures(browser, '#prediction') == before
    browser.drag('#mask-canvas canvas', *path[:12])
    browser.wait(lambda: masked(browser) == '24 of 36', 'a prediction')
    assert browser.text(NOTICE) == ''


def test_keys__mask_and_unmask(browser):
    mask = mask_of(browser)
    browser.run('document.querySelector("#mask-canvas canvas").focus()')
    right, space = '\ue014', ' '
    browser.type('#mask-canvas canvas', right + space)
    expected = list(mask)
    expected[1] = '1' if mask[1] == '0' else '0'
    browser.wait(lambda: mask_of(browser) == ''.join(expected), 'another mask')
    browser.wait(
        lambda: masked(browser) == f'{expected.count("1")} of 36',
        'a prediction',
    )


def test_click__shows_the_attention_of_a_patch(browser):
    before = pictures(browser, '#attention')
    browser.drag('#attention-canvas canvas', (0.08, 0.08))
    patch = changed(browser, '#attention', before)
    assert browser.text(NOTICE) == ''
    browser.click('#class-token')
    token = changed(browser, '#attention', patch)
    assert set(token) == set(before)


def test_upload__is_predicted(browser, explorer, tmp_path):
    near = pictures(browser, '#neighbors')
    path = tmp_path / 'turned.jpg'
    Image.open(EMOJI / 'rose.png').rotate(90).resize((300, 200)).save(path)
    browser.type('#upload input[type=file]', str(path))
    alone = prediction_of(explorer, browser, path)
    browser.wait(
        lambda: set(pictures(browser, '#prediction').values()) == alone,
        'what the model makes of the picture',
    )
    changed(browser, '#neighbors', near)
    assert browser.text(NOTICE) == ''


def test_malformed_upload__is_a_sentence_until_the_next_picture(
    browser, tmp_path
):
    before = pictures(browser, '#prediction')
    (tmp_path / 'broken.png').write_text('<svg onload="alert(1)">')
    browser.type('#upload input[type=file]', str(tmp_path / 'broken.png'))
    browser.wait(lambda: browser.text(NOTICE), 'the sentence')
    assert browser.text(NOTICE) == (
        'The file cannot be read as a picture (not an image, or of an '
        'unknown format): upload a JPEG, PNG or WebP file.'
    )
    assert pictures(browser, '#prediction') == before
    browser.click('#examples button:nth-child(1)')
    browser.wait(lambda: not browser.text(NOTICE), 'no sentence')


def test_large_upload__is_a_sentence(browser, tmp_path):
    with (tmp_path / 'large.png').open('wb') as file:
        file.truncate(21_000_000)
    browser.type('#upload input[type=file]', str(tmp_path / 'large.png'))
    browser.wait(lambda: browser.text(NOTICE), 'the sentence')
    assert 'The file has 21.0 MB' in browser.text(NOTICE)


def test_seed__draws_another_mask(browser):
    before = pictures(browser, '#prediction')
    browser.click('#another')
    after = changed(browser, '#prediction', before)
    assert after['Visible'] != before['Visible']
    assert masked(browser) == '18 of 36'


def test_two_users__do_not_mix(app, browser, open_browser, explorer):
    """Both work at the same time; each sees the own picture and mask."""
    users = {'cat': browser, 'tree': opened_page(app, open_browser)}
    together = threading.Barrier(2)

    def work(name):
        user = users[name]
        together.wait(60)
        user.click(f'#examples [title={name}]')
        for step in range(4):
            column = step if name == 'cat' else 5 - step
            user.drag('#mask-canvas canvas', middle(step, column))
            user.drag('#attention-canvas canvas', middle(column, step))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, users))
    assert mask_of(users['cat']) != mask_of(users['tree'])
    for name, user in users.items():
        path = EMOJI / f'{name}.png'
        alone = prediction_of(explorer, user, path)
        user.wait(
            lambda user=user, alone=alone: (
                alone == set(pictures(user, '#prediction').values())
            ),
            f'what the model makes of the {name} alone',
        )
        pixels = read_upload(path)
        patch = (3, 3) if name == 'cat' else (2, 3)
        alone = set(
            re.findall(
                r'src="([^"]+)"',
                attention_html(
                    explorer.view(pixels), explorer.attention(pixels, patch)
                ),
            )
        )
        user.wait(
            lambda user=user, alone=alone: (
                alone == set(pictures(user, '#attention').values())
            ),
            f'the attention in the {name} alone',
        )


def test_page__and_server_ask_no_other_host(app, browser):
    assert browser.hosts() == {f'127.0.0.1:{app.port}'}
    assert 'wants to reach' not in app.log.read_text()
    policy = [line for line in browser.console() if 'Policy' in line]
    assert policy == []


def test_narrow_window__needs_no_sideways_scrolling(app, open_browser):
    narrow = open_browser(size=(500, 900))
    narrow.open(app.url)
    narrow.wait(lambda: narrow.text('#neighbors b'), 'the page')
    width, inner = narrow.run(
        'return [document.documentElement.scrollWidth, innerWidth]'
    )
    assert width <= inner


def test_interrupt__ends_cleanly_with_pages_open(app, browser):
    """The last test of the file."""
    app.process.send_signal(signal.SIGINT)
    assert app.process.wait(20) == 0
    output = app.log.read_text()
    assert output.rstrip().endswith('ended')
    assert 'Traceback' not in output
    assert list(app.log.parent.glob('mmcae_app_*')) == []
