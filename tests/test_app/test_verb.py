# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The command ``mmcae app`` before and around the page."""

import asyncio
import importlib.util
import runpy
import socket

import pytest

from mmcae.app.server import CONTENT_POLICY, HOST, WithPolicy, open_socket
from mmcae.config.search_path import resource_root
from mmcae_command import main


def status_of(*arguments):
    try:
        return main(list(map(str, arguments)))
    except SystemExit as end:
        return end.code


def test_without_gradio__a_sentence_says_what_to_install(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *rest: None if name == 'gradio' else find(name, *rest),
    )
    assert status_of('app') == 1
    assert capsys.readouterr().err == (
        'error: the page needs gradio, which is not installed: '
        "pip install 'mmcae[demo]'\n"
    )


@pytest.fixture
def gradio_is_there(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *rest: find('json' if name == 'gradio' else name, *rest),
    )


@pytest.mark.usefixtures('gradio_is_there')
def test_port_in_use__is_a_sentence(capsys):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert status_of('app', '--port', port) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert error.startswith(f'error: port {port} cannot be used (')
    assert 'choose another one with --port' in error


@pytest.mark.usefixtures('gradio_is_there')
def test_script_of_the_demo__is_the_same_command(monkeypatch, capsys):
    script = resource_root() / 'demo' / 'app.py'
    monkeypatch.setattr('sys.argv', [str(script), 'none.pth'])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name='__main__')
    assert end.value.code == 2
    assert 'there is no checkpoint none.pth' in capsys.readouterr().err


@pytest.mark.usefixtures('gradio_is_there')
@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['none.pth'], 'there is no checkpoint none.pth'),
        (['--port', '70000'], 'from 0 to 65535, got 70000'),
        (['--folder', 'no-such-folder'], 'no-such-folder'),
    ],
)
def test_mistake__is_a_sentence(arguments, words, capsys):
    assert status_of('app', *arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('error: ')
    assert words in last


def test_socket__is_of_this_machine_only():
    with open_socket(0) as found:
        assert found.getsockname()[0] == '127.0.0.1'


def test_default_port__is_the_first_free_one(monkeypatch):
    with open_socket() as first:
        first.listen()
        with open_socket() as second:
            assert second.getsockname()[1] > first.getsockname()[1]
        number = first.getsockname()[1]
    monkeypatch.setattr('mmcae.app.server.FIRST_PORT', number)
    monkeypatch.setattr('mmcae.app.server._PORTS_TRIED', 1)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, number))
        taken.listen()
        with pytest.raises(OSError, match=f'no port from {number} to'):
            open_socket()


def test_answers__forbid_other_hosts():
    sent = []

    async def app(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200})
        await send({'type': 'http.response.body', 'body': b''})

    async def send(message):
        sent.append(message)

    asyncio.run(WithPolicy(app)({}, None, send))
    policy = dict(sent[0]['headers'])[b'content-security-policy'].decode()
    assert policy == CONTENT_POLICY
    assert "default-src 'self'" in policy
    assert 'http' not in policy
