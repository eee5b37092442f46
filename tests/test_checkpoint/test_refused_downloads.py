# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a download gave and a reader refused does not stay in the cache."""

import http.server
import pickle
import threading
import time

import pytest
import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from mmcae.checkpoint import download as download_module
from mmcae.checkpoint.reading import DownloadError
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights


class Server(http.server.ThreadingHTTPServer):
    """Gives one body for every path, as it is told."""

    body = b''
    chunks = ()
    pause = 0.0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()  # no length: the end is where it closes
        self.wfile.write(self.server.body)
        try:
            for chunk in self.server.chunks:
                self.wfile.write(chunk)
                time.sleep(self.server.pause)
        except OSError:
            pass  # the other side had enough

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    web = Server(('127.0.0.1', 0), Handler)
    web.cache = tmp_path / 'hub' / 'checkpoints'
    web.url = f'http://127.0.0.1:{web.server_address[1]}/tokenizer.pth'
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


def good_file(tmp_path):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / 'good.pth')
    return (tmp_path / 'good.pth').read_bytes()


class Evil:
    def __reduce__(self):
        return eval, ('1',)


def bad_files(tmp_path):
    good = good_file(tmp_path)
    torch.save({'state_dict': Evil()}, tmp_path / 'evil.pth')
    torch.save({'state_dict': ['x']}, tmp_path / 'list.pth')
    return {
        'cut': good[: len(good) // 2],
        'page': b'<html>Please log in</html>',
        'empty': b'',
        'unsafe': (tmp_path / 'evil.pth').read_bytes(),
        'unsafe pickle': pickle.dumps(Evil()),
        'no weights': (tmp_path / 'list.pth').read_bytes(),
    }


def load_tokenizer(url):
    load_tokenizer_weights(nn.Linear(2, 3), url)


def load_any(url):
    CheckpointLoader.load_checkpoint(url, 'cpu')


@pytest.mark.parametrize('load', [load_tokenizer, load_any])
@pytest.mark.parametrize(
    'kind', ['cut', 'page', 'empty', 'unsafe', 'unsafe pickle', 'no weights']
)
def test_refused__leaves_the_cache(server, tmp_path, kind, load):
    server.body = bad_files(tmp_path)[kind]
    with pytest.raises((DownloadError, ValueError)) as info:
        load(server.url)
    message = str(info.value)
    assert server.url in message
    assert str(server.cache / 'tokenizer.pth') in message
    assert 'removed from the cache' in message
    assert 'give its path' in message
    assert '\n' not in message
    assert list(server.cache.iterdir()) == []
    # The next start is not stuck with it.
    server.body = good_file(tmp_path)
    load(server.url)
    assert [p.name for p in server.cache.iterdir()] == ['tokenizer.pth']


def test_refused__weights_of_another_model_stay(server, tmp_path):
    """The file is good: it is the config that asks for another."""
    server.body = good_file(tmp_path)
    with pytest.raises(ValueError, match='does not hold the weights'):
        load_tokenizer_weights(nn.Linear(5, 5), server.url)
    assert (server.cache / 'tokenizer.pth').is_file()


def test_download__ends_where_a_server_does_not(server, monkeypatch):
    server.chunks, server.pause = (b'x' for _ in range(10_000)), 0.01
    monkeypatch.setattr(download_module, 'MAX_SECONDS', 0.3)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r'bytes came in 0\.3 seconds'):
        load_any(server.url)
    assert time.monotonic() - start < 5
    assert list(server.cache.iterdir()) == []


def test_download__ends_where_a_file_does_not(server, monkeypatch):
    server.chunks = (b'x' * 65536 for _ in range(10_000))
    monkeypatch.setattr(download_module, 'MAX_BYTES', 1 << 20)
    with pytest.raises(DownloadError, match='more than 1048576 bytes'):
        load_any(server.url)
    assert list(server.cache.iterdir()) == []


@pytest.mark.parametrize('path', ['', '..', '.', 'a/..'])
def test_download__needs_the_name_of_a_file(path):
    with pytest.raises(DownloadError, match='does not name a file'):
        download_module.cached_path(f'http://127.0.0.1:9/{path}')
