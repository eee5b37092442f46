# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Foreign files are read as data: real checkpoints yes, code never."""

import argparse
import collections
import copyreg
import functools
import http.server
import os
import pickle
import runpy
import socket
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn

from mmcae.checkpoint import download as download_module
from mmcae.checkpoint.mmengine_loader import register_safe_loader
from mmcae.checkpoint.reading import (
    DownloadError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
    read_checkpoint,
    sha256_of,
    write_weights,
)
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) + ((state,) if state else ())

    def __reduce__(self):
        return self.parts


class Chain:
    """Pickles as ``getattr(getattr(object, '__class__'), name)(...)``."""

    def __init__(self, *path):
        self.path = path

    def __reduce__(self):
        if len(self.path) == 2:
            return getattr, self.path
        return getattr, (Chain(*self.path[:-1]), self.path[-1])


def payloads(sentinel):
    command = f'touch {sentinel}'
    source = f'open({str(sentinel)!r}, "w").close()'
    return {
        'os_system': Call(os.system, command),
        'eval': Call(eval, source),
        'exec': Call(exec, source),
        'import': Call(__import__, 'os'),
        'open': Call(open, str(sentinel), 'w'),
        'getattr_init': Call(getattr, HistoryBuffer, '__init__'),
        'getattr_globals': Chain(HistoryBuffer, 'min', '__globals__'),
        'getattr_builtins': Chain(HistoryBuffer, '__init__', '__builtins__'),
        'getattr_namespace': Chain(argparse.Namespace, '__init__'),
        'copyreg': Call(copyreg._reconstructor, Call, object, None),
        'copyreg_add': Call(copyreg.add_extension, 'os', 'system', 1),
        'partial': Call(functools.partial, os.system, command),
        'reduce_in_args': Call(
            collections.OrderedDict, [('a', Call(os.system, command))]
        ),
        'build_setstate': Call(
            types.SimpleNamespace, state={'__setstate__': os.system}
        ),
        'build_namespace': Call(
            argparse.Namespace, state={'a': Call(os.system, command)}
        ),
        'build_history': Call(
            HistoryBuffer, state={'statistics_methods': {'a': os.system}}
        ),
        'compile': Call(compile, source, 'x', 'exec'),
        'torch_load': Call(torch.load, str(sentinel)),
        'hub': Call(torch.hub.load, str(sentinel), 'x'),
        'numpy_load': Call(np.load, str(sentinel)),
        'numpy_object': np.array([Call(os.system, command)], dtype=object),
        'numpy_plain_object': np.array([None, {}], dtype=object),
        'numpy_fields': np.zeros(2, dtype=[('a', 'O'), ('b', 'f4')]),
        'numpy_memmap': Call(np.memmap, str(sentinel), 'u1', 'w+', 0, 10),
        'pickle_loads': Call(
            pickle.loads, pickle.dumps(Call(os.system, command))
        ),
        'subprocess': Call(subprocess.Popen, ['touch', str(sentinel)]),
        'runpy': Call(runpy.run_path, str(sentinel)),
        'module': nn.Linear(2, 2),
        'delete': Call(os.unlink, str(sentinel)),
    }


NAMES = sorted(payloads('x'))


def write(obj, path, form):
    if form == 'bare':
        path.write_bytes(pickle.dumps(obj, 2))
    else:
        torch.save(obj, path, _use_new_zipfile_serialization=form == 'zip')
    return path


@pytest.fixture
def loader():
    """Register ours, and leave the process as it was."""
    schemes = dict(CheckpointLoader._schemes)
    former = {
        name: getattr(mmengine_checkpoint, name)
        for name in ('_safe_torch_load', 'load_from_http')
    }
    register_safe_loader()
    yield CheckpointLoader
    CheckpointLoader._schemes = collections.OrderedDict(
        sorted(schemes.items(), reverse=True)
    )
    for name, function in former.items():
        setattr(mmengine_checkpoint, name, function)


@pytest.mark.parametrize('form', ['zip', 'legacy', 'bare'])
@pytest.mark.parametrize('name', NAMES)
def test_read_checkpoint__refuses_code(tmp_path, name, form):
    sentinel = tmp_path / 'executed'
    payload = {'state_dict': payloads(sentinel)[name]}
    path = write(payload, tmp_path / 'w.pth', form)
    with pytest.raises(ValueError) as info:  # noqa: PT011
        read_checkpoint(path)
    assert str(path) in str(info.value)
    assert len(str(info.value).splitlines()) == 1
    assert not sentinel.exists()


def test_read_checkpoint__names_what_was_refused(tmp_path):
    path = write(Call(os.system, 'true'), tmp_path / 'w.pth', 'zip')
    with pytest.raises(UnsafeCheckpointError, match=r'call posix\.system'):
        read_checkpoint(path)


def test_read_checkpoint__ignores_the_process_wide_list(tmp_path):
    """mmengine's list holds getattr: then torch hands out ``eval``."""
    path = write(
        Call(getattr, HistoryBuffer, '__init__'), tmp_path / 'w.pth', 'zip'
    )
    extra = [getattr, HistoryBuffer]
    with torch.serialization.safe_globals(extra):
        assert callable(torch.load(path, weights_only=True))
        with pytest.raises(ValueError, match='getattr'):
            read_checkpoint(path)
        assert set(extra) <= set(torch.serialization.get_safe_globals())


def test_read_checkpoint__restores_the_list_for_other_threads(tmp_path):
    former = set(torch.serialization.get_safe_globals())
    good = tmp_path / 'good.pth'
    torch.save({'a': HistoryBuffer([1.0], [1])}, good)
    bad = write(Call(os.system, 'true'), tmp_path / 'bad.pth', 'zip')

    def work(results):
        for _ in range(20):
            results.append(read_checkpoint(good)['a'].current())
            with pytest.raises(UnsafeCheckpointError):
                read_checkpoint(bad)

    results = []
    threads = [
        threading.Thread(target=work, args=(results,)) for _ in range(4)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert results == [1.0] * 80
    assert set(torch.serialization.get_safe_globals()) == former


def test_read_checkpoint__reads_a_training_checkpoint(tmp_path):
    history = HistoryBuffer([1.0, 2.5], [1, 2])
    weights = collections.OrderedDict(w=torch.randn(3))
    weights._metadata = {'': {'version': 1}}
    checkpoint = dict(
        meta=dict(
            epoch=3,
            dataset_meta=dict(
                palette=np.arange(6, dtype=np.uint8).reshape(2, 3).T,
                classes=('a', 'b'),
            ),
            share=np.float64(0.5),
            state=('MT', np.arange(4, dtype=np.uint32), 1, 0, 0.0),
            names=np.array(['x', 'yz']),
            big_endian=np.arange(3, dtype='>i4'),
        ),
        state_dict=weights,
        message_hub=dict(
            log_scalars=collections.OrderedDict({'train/loss': history}),
            runtime_info=collections.OrderedDict(iter=1),
        ),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}),
    )
    for form in ('zip', 'legacy'):
        path = write(checkpoint, tmp_path / 'epoch_3.pth', form)
        found = read_checkpoint(path)
        assert torch.equal(found['state_dict']['w'], weights['w'])
        assert found['state_dict']._metadata == weights._metadata
        restored = found['message_hub']['log_scalars']['train/loss']
        assert type(restored) is HistoryBuffer
        assert restored.mean() == history.mean()
        assert restored.statistics('max') == 2.5
        restored.update(9.0)
        meta, given = found['meta'], checkpoint['meta']
        assert type(meta['dataset_meta']['palette']) is np.ndarray
        for key in ('share', 'names', 'big_endian'):
            np.testing.assert_array_equal(meta[key], given[key])
        np.testing.assert_array_equal(
            meta['dataset_meta']['palette'], given['dataset_meta']['palette']
        )
        np.testing.assert_array_equal(meta['state'][1], given['state'][1])
        # It can be saved again, and mmengine reads it.
        torch.save(found, tmp_path / 'again.pth')
        read_checkpoint(tmp_path / 'again.pth')


def test_read_checkpoint__reads_authors_arguments(tmp_path):
    args = argparse.Namespace(lr=1e-3, betas=[0.9, 0.98], name='cae')
    path = write({'model': {}, 'args': args}, tmp_path / 'c.pth', 'legacy')
    assert read_checkpoint(path)['args'] == args


def test_read_checkpoint__safetensors_has_metadata(tmp_path):
    path = tmp_path / 'w.safetensors'
    digest = write_weights({'w': torch.ones(2)}, path, {'model': 'x'})
    found = read_checkpoint(path)
    assert torch.equal(found['state_dict']['w'], torch.ones(2))
    assert found['meta'] == {'model': 'x'}
    assert digest == sha256_of(path)


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors'])
def test_read_checkpoint__names_a_damaged_file(tmp_path, name):
    path = tmp_path / name
    write_weights({'w': torch.randn(1000)}, path)
    content = path.read_bytes()
    for size in (0, 1, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UnreadableCheckpointError, match=name):
            read_checkpoint(path)
    path.write_text('<html>Not found</html>')
    with pytest.raises(UnreadableCheckpointError, match='damaged'):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        read_checkpoint(tmp_path / 'none.pth')


def test_read_checkpoint__refuses_something_else_than_a_dict(tmp_path):
    path = write(torch.ones(2), tmp_path / 'w.pth', 'zip')
    with pytest.raises(UnreadableCheckpointError, match='Tensor'):
        read_checkpoint(path)


def test_write_weights__leaves_nothing_half_written(tmp_path):
    path = tmp_path / 'w.pth'
    path.write_bytes(b'old')
    with pytest.raises(AttributeError):
        write_weights({'w': 1}, path)
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


# --- every load of an mmengine process -------------------------------------


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine, and an empty cache."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    pages, delays = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content, announced = pages.get(self.path, (None, 0))
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header('Content-Length', str(announced))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{web.server_address[1]}'
    yield types.SimpleNamespace(
        url=url, pages=pages, delays=delays, cache=tmp_path / 'hub/checkpoints'
    )
    web.shutdown()
    web.server_close()


def publish(server, name, content, announced=None):
    server.pages[f'/{name}'] = (content, announced or len(content))
    return f'{server.url}/{name}'


def test_loader__serves_every_entry_point(
    loader, tmp_path, server, monkeypatch
):
    sentinel = tmp_path / 'executed'
    bad = write(
        {'state_dict': Call(os.system, f'touch {sentinel}')},
        tmp_path / 'bad.pth',
        'zip',
    )
    url = publish(server, 'bad.pth', bad.read_bytes())
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_external_models', lambda: {'x': url}
    )
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_torchvision_models', lambda: {'x': url}
    )
    model = nn.Linear(1, 1)
    for place in (
        str(bad), url, 'open-mmlab://x', 'openmmlab://x', 'torchvision://x',
    ):  # fmt: skip
        with pytest.raises(UnsafeCheckpointError):
            mmengine_checkpoint.load_checkpoint(model, place)
    monkeypatch.setattr(
        mmengine_checkpoint,
        'get_file_backend',
        lambda *_, **__: types.SimpleNamespace(get=lambda _: bad.read_bytes()),
    )
    with pytest.raises(UnsafeCheckpointError):
        mmengine_checkpoint.load_checkpoint(model, 's3://bucket/x.pth')
    assert not sentinel.exists()


def test_loader__loads_good_files(loader, tmp_path, server):
    weights = nn.Linear(2, 2).state_dict()
    path = tmp_path / 'good.pth'
    torch.save({'state_dict': weights}, path)
    url = publish(server, 'good.pth', path.read_bytes())
    for place in (str(path), url):
        model = nn.Linear(2, 2)
        mmengine_checkpoint.load_checkpoint(model, place, strict=True)
        assert torch.equal(model.weight, weights['weight'])
    assert (server.cache / 'good.pth').read_bytes() == path.read_bytes()
    assert [p.name for p in server.cache.iterdir()] == ['good.pth']
    server.pages.clear()  # the second time it comes from the cache
    loader.load_checkpoint(url, 'cpu')


def test_load_from_http__fails_soon_and_clearly(loader, server, monkeypatch):
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
            publish(server, 'cut.pth', b'12345', 9),
            publish(server, 'x-0123abcd.pth', b'12345'),
        ):
            name = url.split('/')[-1]
            with pytest.raises(DownloadError) as info:
                loader.load_checkpoint(url, 'cpu')
            message = str(info.value)
            assert url in message
            assert str(server.cache / name) in message
            assert 'offline' in message
            assert len(message.splitlines()) == 1
            assert not (server.cache / name).exists()


def test_load_from_http__does_not_keep_a_page_that_is_no_file(loader, server):
    url = publish(server, 'page.pth', b'<html>Please log in</html>')
    with pytest.raises(DownloadError, match='removed from the cache'):
        loader.load_checkpoint(url, 'cpu')
    assert not (server.cache / 'page.pth').exists()


def test_load_from_http__replaces_a_damaged_cached_file(
    loader, server, tmp_path
):
    path = tmp_path / 'good.pth'
    torch.save({'a': torch.ones(1)}, path)
    name = f'm_2022-{sha256_of(path)[:8]}.pth'
    url = publish(server, name, path.read_bytes())
    server.cache.mkdir(parents=True)
    (server.cache / name).write_bytes(path.read_bytes()[:-1])
    assert torch.equal(loader.load_checkpoint(url, 'cpu')['a'], torch.ones(1))


def test_hash_in_name__does_not_take_a_date_for_it():
    assert download_module.hash_in_name('a_20220825-404a1929.pth') == (
        '404a1929'
    )
    assert download_module.hash_in_name('a-20220825.pth') is None
    assert download_module.hash_in_name('a.pth') is None


# --- tokenizers ------------------------------------------------------------


def test_load_tokenizer_weights__accepts_the_usual_wrappings(tmp_path):
    given = nn.Linear(2, 3)
    weights = given.state_dict()
    wrapped = {f'target_generator.{k}': v for k, v in weights.items()}
    for number, content in enumerate((
        weights,
        {'state_dict': weights, 'meta': {}, 'optimizer': {}},
        {'state_dict': {**wrapped, 'backbone.w': torch.ones(1)}},
        {'state_dict': {f'module.{k}': v for k, v in weights.items()}},
    )):  # fmt: skip
        path = tmp_path / f'{number}.pth'
        torch.save(content, path)
        module = nn.Linear(2, 3)
        load_tokenizer_weights(module, path)
        assert torch.equal(module.weight, given.weight)
        assert module.weights_info == {
            'file': path.name,
            'sha256': sha256_of(path),
        }


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.pop('bias'), r'1 of 2 tensors missing \(bias\)'),
        (lambda w: w.update(x=torch.ones(1)), r'1 unexpected \(x\)'),
        (
            lambda w: w.update(weight=torch.ones(3, 5)),
            r'weight: \(3, 5\) instead of \(3, 2\)',
        ),
        (lambda w: w.clear(), '2 of 2 tensors missing'),
    ],
)
def test_load_tokenizer_weights__accepts_nothing_partial(
    tmp_path, change, message
):
    module = nn.Linear(2, 3)
    before = module.weight.clone()
    weights = dict(nn.Linear(2, 3).state_dict())
    change(weights)
    torch.save(weights, tmp_path / 'w.pth')
    with pytest.raises(ValueError, match=message):
        load_tokenizer_weights(module, tmp_path / 'w.pth')
    assert torch.equal(module.weight, before)


def test_load_tokenizer_weights__says_how_to_convert_a_pickle(tmp_path):
    torch.save(nn.Linear(1, 1), tmp_path / 'encoder.pkl')
    with pytest.raises(UnsafeCheckpointError, match=r'dalle_to_mmcae\.py'):
        load_tokenizer_weights(nn.Linear(1, 1), tmp_path / 'encoder.pkl')
