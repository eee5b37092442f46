# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Downloads end in time, and a refused file does not stay in the cache."""

import pickle
import re
import socket
import struct
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
from mmcae.checkpoint.transfer import _redirected

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
                assert ('removed from the cache' in message) == (
                    kind != 'page'
                )
                assert re.search('give (its|the) path', message)
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
    with pytest.raises(DownloadError, match='a web page, not a checkpoint'):
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


@pytest.fixture
def limits(monkeypatch):
    """Set limits by name."""

    def change(**values):
        former = download_module.LIMITS
        monkeypatch.setattr(
            download_module, 'LIMITS', former._replace(**values)
        )

    return change


def refused(server, words, url=None) -> str:
    """Require an error within five seconds, and an empty cache."""
    url = url or f'{server.url}/{NAME}'
    start = time.monotonic()
    with pytest.raises(DownloadError, match=words) as info:
        load_any(url)
    assert time.monotonic() - start < 5
    message = str(info.value)
    plain = url.partition('#')[0]
    assert plain in message
    assert str(server.cache / plain.rpartition('/')[2]) in message
    assert 'offline' in message
    assert '\n' not in message
    assert not server.cache.exists() or not list(server.cache.iterdir())
    return message


def drip(byte=b'x'):
    return (byte for _ in range(9999))


def test_download__limits_the_time(server, limits):
    server.pages[NAME] = Page(chunks=drip(b'x' * 1000), pause=0.01)
    limits(total=0.3)
    refused(server, r'only [\d,]+ bytes came in 0\.3 seconds')


def test_download__refuses_a_byte_now_and_then(server, limits):
    server.pages[NAME] = Page(chunks=drip(), pause=0.05)
    limits(slow=0.3)
    refused(server, r'only \d bytes came in the last 0\.3 seconds')


def test_download__of_a_slow_but_steady_server_works(server, limits, tmp_path):
    good = good_file(tmp_path)
    parts = [good[i : i + 400] for i in range(0, len(good), 400)]
    server.pages[NAME] = Page(chunks=parts, pause=0.1)
    limits(slow=0.2)
    load_any(f'{server.url}/{NAME}')


def test_download__refuses_headers_that_never_end(server, limits):
    server.pages[NAME] = Page(chunks=drip(), pause=0.05, raw=True)
    limits(answer=0.3)
    refused(server, r'no complete answer in 0\.3 seconds')


def test_download__limits_the_size(server, limits):
    server.pages[NAME] = Page(chunks=drip(b'x' * 65536))
    limits(size=1 << 20)
    refused(server, 'more than 1,048,576 bytes')


def test_download__limits_the_announced_size(server, limits):
    server.pages[NAME] = Page(length=5 << 40, chunks=drip(), pause=1)
    refused(server, 'it has 5,497,558,138,880 bytes, more than')


def test_download__refuses_an_endless_page_at_once(server):
    server.pages[NAME] = Page(b'\n<!DOCTYPE html>', chunks=drip(), pause=1)
    refused(server, 'a web page, not a checkpoint')


def test_download__takes_safetensors_that_begin_like_a_page(server):
    """Their first eight bytes are the size of the header."""
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    size = struct.pack('<Q', 60)
    assert size[:1] == b'<'
    content = size + header.ljust(60) + struct.pack('<f', 3)
    url = server.publish('a.safetensors', content)
    assert load_any(url)['state_dict']['a'].tolist() == [3]


def test_download__follows_a_redirect(server, tmp_path):
    server.publish('there.pth', good_file(tmp_path))
    server.pages[NAME] = Page(redirect='/there.pth')
    load_any(f'{server.url}/{NAME}')
    assert [path.name for path in server.cache.iterdir()] == [NAME]


def test_download__refuses_redirects_in_a_circle(server):
    server.pages[NAME] = Page(redirect=f'/{NAME}')
    refused(server, 'redirects more than 10 times')


@pytest.mark.parametrize('target', ['file:///etc/passwd', 'ftp://h/x.pth'])
def test_download__refuses_redirects_that_leave_http(server, target):
    server.pages[NAME] = Page(redirect=target)
    refused(server, f'redirects to {target}, which is not http or https')


def test_redirected__stays_encrypted():
    with pytest.raises(ValueError, match='which is not https'):
        _redirected('https://host/a.pth', 'http://host/a.pth')
    assert _redirected('https://host/a', '/b c') == 'https://host/b%20c'
    assert _redirected('http://host/a', 'https://o/b') == 'https://o/b'


def test_download__of_a_local_file_is_not_for_this_function(server):
    with pytest.raises(DownloadError, match='unknown url type'):
        download_module.download('file:///etc/passwd')


def test_pin__is_checked_at_the_download(server, tmp_path):
    content = good_file(tmp_path)
    url = server.publish(NAME, content)
    right = sha256_of(tmp_path / 'good.pth')
    message = refused(server, 'SHA-256', f'{url}#sha256={"0" * 64}')
    assert right in message
    assert '0' * 64 in message
    for load in (load_any, load_tokenizer):
        load(f'{url}#sha256={right.upper()}')


def test_pin__is_checked_at_every_load_from_the_cache(server, tmp_path):
    """Both files can be loaded; only the pin tells them apart."""
    good = good_file(tmp_path)
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / 'other.pth')
    other = (tmp_path / 'other.pth').read_bytes()
    pin = sha256_of(tmp_path / 'good.pth')
    url = server.publish(NAME, good)
    cached = server.cache / NAME
    load_any(f'{url}#sha256={pin}')
    for load in (load_any, load_tokenizer):
        cached.write_bytes(other)
        load(f'{url}#sha256={pin}')  # it is downloaded again
        assert cached.read_bytes() == good
    cached.write_bytes(other)
    server.pages.clear()
    refused(server, '404', f'{url}#sha256={pin}')


def test_pin__must_be_a_sha256(subtests):
    for pin in ('', 'abc', '0' * 63, 'g' * 64, '0' * 64 + '\n'):
        with (
            subtests.test(pin=pin),
            pytest.raises(DownloadError, match='must end in 64 hexadecimal'),
        ):
            download_module.download(f'http://127.0.0.1:9/a.pth#sha256={pin}')


def test_pin__is_logged_at_the_first_download(server, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        download_module, 'print_log', lambda text, **_: said.append(text)
    )
    url = server.publish(NAME, good_file(tmp_path))
    load_any(url)
    pinned = f'{url}#sha256={sha256_of(tmp_path / "good.pth")}'
    assert f"write '{pinned}' in the config" in said[-1]
    said.clear()
    load_any(pinned)
    assert said == []


def test_pin__of_a_tokenizer_is_a_key_of_its_config(server, tmp_path):
    url = server.publish(NAME, good_file(tmp_path))
    right, wrong = sha256_of(tmp_path / 'good.pth'), '0' * 64
    for place in (url, str(tmp_path / 'good.pth')):
        load_tokenizer_weights(nn.Linear(2, 3), place, sha256=right)
        with pytest.raises((DownloadError, ValueError), match=wrong):
            load_tokenizer_weights(nn.Linear(2, 3), place, sha256=wrong)
    assert (tmp_path / 'good.pth').exists()  # a file of the user
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
