# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Downloads end in time, and a refused file does not stay in the cache."""

import pickle
import socket
import time

import pytest
import torch
from helpers.corpus.code import Call
from helpers.web_server import Page, web_server
from mmengine.runner import CheckpointLoader
from torch import nn

from mmcae.checkpoint import download as download_module
from mmcae.checkpoint.reading import DownloadError, sha256_of
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights

NAME = 'tokenizer.pth'


@pytest.fixture
def server(tmp_path, monkeypatch):
    with web_server(tmp_path, monkeypatch) as running:
        yield running


def good_file(tmp_path):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / 'good.pth')
    return (tmp_path / 'good.pth').read_bytes()


def bad_files(tmp_path):
    good = good_file(tmp_path)
    torch.save({'state_dict': Call(eval, '1')}, tmp_path / 'evil.pth')
    torch.save({'state_dict': ['x']}, tmp_path / 'list.pth')
    return {
        'cut': good[: len(good) // 2],
        'page': b'<html>Please log in</html>',
        'empty': b'',
        'unsafe': (tmp_path / 'evil.pth').read_bytes(),
        'unsafe pickle': pickle.dumps(Call(eval, '1')),
        'no weights': (tmp_path / 'list.pth').read_bytes(),
    }


def load_tokenizer(url):
    load_tokenizer_weights(nn.Linear(2, 3), url)


def load_any(url):
    return CheckpointLoader.load_checkpoint(url, 'cpu')


def test_refused__does_not_stay_in_the_cache(server, tmp_path, subtests):
    url, cached = f'{server.url}/{NAME}', server.cache / NAME
    for kind, content in bad_files(tmp_path).items():
        for load in (load_tokenizer, load_any):
            with subtests.test(kind=kind, load=load.__name__):
                server.pages[NAME] = Page(content)
                with pytest.raises((DownloadError, ValueError)) as info:
                    load(url)
                message = str(info.value)
                assert url in message
                assert str(cached) in message
                assert 'removed from the cache' in message
                assert 'give its path' in message
                assert '\n' not in message
                assert list(server.cache.iterdir()) == []
                # The next start downloads the file again.
                server.pages[NAME] = Page(good_file(tmp_path))
                load(url)
                assert list(server.cache.iterdir()) == [cached]
            cached.unlink(missing_ok=True)


def test_refused__weights_of_another_model_stay_in_the_cache(server, tmp_path):
    """The file is good; the config is for another model."""
    server.pages[NAME] = Page(good_file(tmp_path))
    with pytest.raises(ValueError, match='does not hold the weights'):
        load_tokenizer_weights(nn.Linear(5, 5), f'{server.url}/{NAME}')
    assert (server.cache / NAME).is_file()


def test_download__fails_soon_and_says_what_to_do(server, monkeypatch):
    monkeypatch.setattr(download_module.download, '__defaults__', (None, 0.5))
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        port = silent.getsockname()[1]
        with socket.socket() as closed:
            closed.bind(('127.0.0.1', 0))
            nobody = closed.getsockname()[1]
        for url in (
            f'{server.url}/none.pth',
            f'http://127.0.0.1:{port}/silent.pth',
            f'http://127.0.0.1:{nobody}/closed.pth',
            'http://no.such.host.invalid/dns.pth',
            server.publish('cut.pth', b'12345', 9),
            server.publish('x-0123abcd.pth', b'12345'),
        ):
            name = url.split('/')[-1]
            with pytest.raises(DownloadError) as info:
                load_any(url)
            message = str(info.value)
            assert url in message
            assert str(server.cache / name) in message
            assert 'offline' in message
            assert len(message.splitlines()) == 1
            assert not (server.cache / name).exists()


def test_download__removes_a_page_that_is_not_a_file(server):
    url = server.publish('page.pth', b'<html>Please log in</html>')
    with pytest.raises(DownloadError, match='removed from the cache'):
        load_any(url)
    assert not (server.cache / 'page.pth').exists()


def test_download__replaces_a_damaged_cached_file(server, tmp_path):
    path = tmp_path / 'good.pth'
    torch.save({'a': torch.ones(1)}, path)
    name = f'm_2022-{sha256_of(path)[:8]}.pth'
    url = server.publish(name, path.read_bytes())
    server.cache.mkdir(parents=True)
    (server.cache / name).write_bytes(path.read_bytes()[:-1])
    assert torch.equal(load_any(url)['a'], torch.ones(1))


def test_download__limits_the_time(server, monkeypatch):
    server.pages[NAME] = Page(chunks=(b'x' for _ in range(9999)), pause=0.01)
    monkeypatch.setattr(download_module, 'MAX_SECONDS', 0.3)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r'bytes came in 0\.3 seconds'):
        load_any(f'{server.url}/{NAME}')
    assert time.monotonic() - start < 5
    assert list(server.cache.iterdir()) == []


def test_download__limits_the_size(server, monkeypatch):
    server.pages[NAME] = Page(chunks=(b'x' * 65536 for _ in range(9999)))
    monkeypatch.setattr(download_module, 'MAX_BYTES', 1 << 20)
    with pytest.raises(DownloadError, match='more than 1048576 bytes'):
        load_any(f'{server.url}/{NAME}')
    assert list(server.cache.iterdir()) == []


def test_cached_path__needs_the_name_of_a_file(subtests):
    for path in ('', '..', '.', 'a/..'):
        with (
            subtests.test(path=path),
            pytest.raises(DownloadError, match='does not name a file'),
        ):
            download_module.cached_path(f'http://127.0.0.1:9/{path}')


def test_hash_in_name__does_not_take_a_date_for_it():
    assert download_module.hash_in_name('a_20220825-404a1929.pth') == (
        '404a1929'
    )
    assert download_module.hash_in_name('a-20220825.pth') is None
    assert download_module.hash_in_name('a.pth') is None
