# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every function and program of the package that reads a foreign file.

For every file of the corpus, each of them either reads what the file has, or
ends with one sentence that names the file and what is wrong with it.
"""

import contextlib
import dataclasses
import http.server
import io
import os
import random
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest
import torch
from helpers import corpus, toy_project
from helpers.converters import CONVERTERS, load_tool
from helpers.corpus.entry import Allowed
from helpers.corpus.honest import saved
from helpers.isolation import run_isolated
from helpers.judge import judged, message_fault
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmpretrain import get_model
from torch import nn

import mmcae
from mmcae.checkpoint.dalle_pickle import read_module_pickle
from mmcae.checkpoint.reading import (
    DownloadError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
    read_checkpoint,
)
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights
from mmcae.config.search_path import resource_root

SAMPLE = 60


class Weights(BaseModule):
    """One tensor, with the name and the size that most files have."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.w = nn.Parameter(torch.zeros(4))


def pretrained(content, path, prefix=None):
    cfg = dict(type='Pretrained', checkpoint=path)
    if prefix is not None:
        cfg['prefix'] = prefix
    Weights(cfg).init_weights()


def with_prefix(content, path):
    try:
        return pretrained(content, path, 'state_dict')
    except AssertionError as error:  # mmengine's error for a wrong prefix
        raise UnreadableCheckpointError(f'{path}: {error}') from None


def zoo_model(content, path):
    get_model(ZOO_CONFIG, pretrained=path)


def tokenizer(content, path):
    try:
        load_tokenizer_weights(Weights(), path)
    except (ValueError, DownloadError) as error:
        raise UnreadableCheckpointError(str(error)) from None


def stream(content, path):
    try:
        return mmengine_checkpoint._safe_torch_load(io.BytesIO(content))
    except ValueError as error:  # a stream has no name
        raise type(error)(f'{path}: {error}') from None


READERS = {
    'read_checkpoint': lambda _, path: read_checkpoint(path),
    'CheckpointLoader': lambda _, path: CheckpointLoader.load_checkpoint(
        path, 'cpu'
    ),
    'load_checkpoint': lambda _, path: load_checkpoint(
        Weights(), path, map_location='cpu'
    ),
    'stream': stream,
    'Pretrained': pretrained,
    'Pretrained_with_prefix': with_prefix,
    'get_model': zoo_model,
    'tokenizer': tokenizer,
    'read_module_pickle': lambda _, path: read_module_pickle(path),
}
ZOO_CONFIG = Config(
    dict(
        model=dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.LeNet5', num_classes=2),
        )
    )
)


def converter(command):
    """Run a converter in this process; its error message is raised."""
    name, *options = command.split()
    options += CONVERTERS[command]
    tool = load_tool(name)

    def run(content, path):
        target = path.rpartition('/')[0] + '/converted.safetensors'
        said = io.StringIO()
        with (
            mock.patch.object(sys, 'argv', [name, *options, path, target]),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(said),
        ):
            try:
                status = tool.main()
            except SystemExit as stop:
                status = stop.code
        text = said.getvalue().strip()
        if isinstance(status, str):  # sys.exit prints it
            status, text = 1, status
        if status:
            raise UnreadableCheckpointError(text)

    return run


@pytest.fixture(scope='module')
def sentinel(tmp_path_factory):
    return tmp_path_factory.mktemp('corpus') / 'executed'


@pytest.fixture(scope='module')
def files(sentinel):
    """Files that must be refused or be harmless; few functions read all."""
    entries = corpus.hostile_files(sentinel) + corpus.malformed_files()
    entries = [e for e in entries if not e.name.startswith('large/')]
    allowed = (Allowed.REFUSED, Allowed.HARMLESS)
    return [
        dataclasses.replace(
            e, allowed=allowed[e.allowed is not Allowed.REFUSED]
        )
        for e in entries
    ]


def some_of(files, seed, count=SAMPLE):
    return random.Random(seed).sample(files, count)


def faults_of(reader, entries, sentinel, folder):
    """Judge a reader, after it has read an honest and a damaged file."""
    MMLogger.get_current_instance().setLevel('ERROR')
    honest = folder / 'honest.pth'
    honest.write_bytes(saved({'state_dict': {'w': torch.ones(4)}}))
    for content in (honest.read_bytes(), b'damaged'):
        honest.write_bytes(content)
        with contextlib.suppress(ValueError):
            reader(content, str(honest))
    found = judged(entries, reader, sentinel, folder=folder)
    return '\n'.join(f'{name}: {fault}' for name, fault in found.items())


def meant_for(name, files):
    """A stream has no name, so it is never read as safetensors."""
    if name != 'stream':
        return files
    return [entry for entry in files if entry.suffix != '.safetensors']


def test_readers__some_files(files, sentinel, tmp_path, subtests):
    for name, reader in READERS.items():
        with subtests.test(name=name):
            entries = some_of(meant_for(name, files), name)
            assert not faults_of(reader, entries, sentinel, tmp_path)


@pytest.mark.slow
def test_readers__all_files(files, sentinel, tmp_path, subtests):
    for name, reader in READERS.items():
        if name.startswith('Pretrained'):
            continue  # both use load_checkpoint
        with subtests.test(name=name):
            entries = meant_for(name, files)
            assert not faults_of(reader, entries, sentinel, tmp_path)


def test_converters__some_files(files, sentinel, tmp_path, subtests):
    for command in CONVERTERS:
        with subtests.test(command=command):
            entries = some_of(files, command)
            tool = converter(command)
            assert not faults_of(tool, entries, sentinel, tmp_path)


@pytest.mark.slow
def test_converters__all_files(files, sentinel, tmp_path, subtests):
    for command in CONVERTERS:
        with subtests.test(command=command):
            tool = converter(command)
            assert not faults_of(tool, files, sentinel, tmp_path)


def test_read_module_pickle__reads_whole_modules(sentinel, tmp_path):
    def reader(content, path):
        return read_module_pickle(path)

    entries = list(corpus.module_pickles())
    assert not judged(entries, reader, sentinel, folder=tmp_path)


# --- downloads, and programs in a process of their own ---------------------


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine for a folder, and an empty cache.

    It reads the folder at each request, because the files are written by the
    isolated processes.
    """
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = (tmp_path / self.path[1:]).read_bytes()
            self.send_response(200)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{web.server_address[1]}'
    web.shutdown()
    web.server_close()


def download_fault(url, entry, folder):
    """Read a file by its URL; return what went wrong."""
    name = f'remote_file{entry.suffix}'
    (folder / name).write_bytes(entry.content())
    cached = folder / 'hub/checkpoints' / name
    try:
        load_checkpoint(Weights(), f'{url}/{name}', map_location='cpu')
    except (UnreadableCheckpointError, UnsafeCheckpointError) as error:
        fault = message_fault(str(error), name)
    except DownloadError as error:
        fault = message_fault(str(error), f'{url}/{name}')
    else:
        cached.unlink()
        refused = entry.allowed is Allowed.REFUSED
        return 'it was read' if refused else ''
    if cached.exists():
        cached.unlink()
        fault = fault or 'it stays in the cache'
    return fault


@pytest.mark.slow
def test_url__some_files(files, server, tmp_path):
    entries = some_of(files, 'url')
    MMLogger.get_current_instance().setLevel('ERROR')
    outcomes = run_isolated(
        entries, lambda entry: download_fault(server, entry, tmp_path)
    )
    faults = {
        entry.name: outcome.fault or outcome.result
        for entry, outcome in zip(entries, outcomes, strict=True)
        if outcome.fault or outcome.result
    }
    assert not faults


ROOT = resource_root()
PACKAGE = str(Path(mmcae.__file__).parents[1])
DIGITS = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
PROGRAMS = {
    'load_from': (
        'train.py', 'toy.py', '--cfg-options', "load_from='{file}'",
    ),
    'resume': ('train.py', 'toy.py', '--resume', '{file}'),
    'work_dir': ('train.py', 'toy.py', '--resume'),
    'test': ('test.py', 'toy.py', '{file}'),
    'extract_features': (
        'extract_features.py', DIGITS, '{file}', 'images', 'out.npz',
        '--num-workers', '0',
    ),
    'knn': ('knn.py', '{file}', '{file}'),
    **{
        command: ('model_converters/' + command.split()[0] + '.py',
                  *command.split()[1:], '{file}', 'out.safetensors')
        for command in CONVERTERS
    },
}  # fmt: skip
# One file of each kind.
KINDS = (
    'code/os_system_zip', 'code/eval_legacy', 'code/raw_stack_global_bare',
    'storage/16_bytes_declared_50_million_floats', 'zip/overlapping_records',
    'setitem/on_list', 'depth/tuples_2_40', 'depth/100000_lists',
    'file/html', 'file/empty', 'legacy/numel_1099511627776',
    'holds/a_tensor', 'holds/state_dict_of_text',
    'holds/state_dict_of_key_with_escapes',
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('program', PROGRAMS)
def test_program__ends_in_one_sentence(program, files, sentinel, tmp_path):
    toy_project.write(tmp_path)
    (tmp_path / 'images').mkdir()
    kind = random.Random(program).choice(KINDS)
    entry = next(entry for entry in files if entry.name == kind)
    ending = '.npz' if program == 'knn' else entry.suffix
    file = tmp_path / f'given_file{ending}'
    if program == 'work_dir':  # found there by the run itself
        file = tmp_path / 'work_dirs/toy/epoch_1.pth'
        file.parent.mkdir(parents=True)
    file.write_bytes(entry.content())
    script, *arguments = PROGRAMS[program]
    done = toy_project.execute(
        [sys.executable, '-W', 'ignore', ROOT / 'tools' / script]
        + [part.format(file=file) for part in arguments],
        tmp_path,
        PYTHONPATH=os.pathsep.join([PACKAGE, str(tmp_path)]),
    )
    said = done.stderr.strip().splitlines()
    assert done.returncode > 0, (kind, done.stdout, done.stderr)
    assert 'Traceback' not in done.stderr, (kind, done.stderr)
    assert file.name in said[-1], (kind, said)
    assert said[-1].isprintable(), (kind, said)
    assert not sentinel.exists()
