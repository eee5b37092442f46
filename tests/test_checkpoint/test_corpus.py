# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The reader on hostile, malformed and honest files; and the judge."""

import contextlib
import io
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import corpus
from helpers.corpus.entry import VALUES, Allowed, Entry, refused
from helpers.corpus.zip_writer import zipped
from helpers.isolation import run_isolated
from helpers.judge import foreign, judged, remove

from mmcae.checkpoint.decoding import decode_checkpoint
from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.reading import read_checkpoint


@pytest.fixture(scope='module')
def sentinel(tmp_path_factory):
    return tmp_path_factory.mktemp('corpus') / 'executed'


def is_large(entry):
    return entry.name.startswith('large/')


@pytest.fixture(scope='module')
def malformed():
    return corpus.malformed_files()


def listed(faults):
    return '\n'.join(f'{name}: {fault}' for name, fault in faults.items())


def test_corpus__has_lost_no_files(malformed, sentinel):
    hostile = corpus.hostile_files(sentinel)
    honest = corpus.honest_files()
    names = [entry.name for entry in (*hostile, *malformed, *honest)]
    assert len(set(names)) == len(names)
    contents = {e.content() for e in (*hostile, *malformed) if not is_large(e)}
    assert len(hostile) > 300
    assert len(malformed) > 1000
    assert len(contents) > 1300
    strict = [e for e in malformed if e.allowed is Allowed.REFUSED]
    assert len(strict) > 0.75 * len(malformed)


def test_corpus__hostile_files_run_code_without_restrictions(sentinel):
    def trust(entry):
        content = io.BytesIO(entry.content())
        try:
            torch.load(content, weights_only=False)
        except Exception:
            content.seek(0)
            with contextlib.suppress(Exception):
                pickle.load(content)
        executed = sentinel.exists()
        remove(sentinel)
        return executed

    entries = corpus.hostile_files(sentinel)
    outcomes = run_isolated(entries, trust)
    assert sum(bool(outcome.result) for outcome in outcomes) > 60


def test_decode_checkpoint__hostile_files(sentinel):
    entries = corpus.hostile_files(sentinel)
    faults = judged(entries, decode_checkpoint, sentinel)
    assert not faults, listed(faults)


def test_decode_checkpoint__malformed_files(malformed, sentinel):
    entries = [entry for entry in malformed if not is_large(entry)]
    faults = judged(entries, decode_checkpoint, sentinel)
    assert not faults, listed(faults)


@pytest.mark.slow
def test_decode_checkpoint__large_files(malformed, sentinel):
    entries = [entry for entry in malformed if is_large(entry)]
    # 100,000 tensors take 2 to 3 s on a quiet machine.
    faults = judged(entries, decode_checkpoint, sentinel, 1, seconds=15)
    assert not faults, listed(faults)


def test_decode_checkpoint__honest_files(sentinel):
    faults = judged(corpus.honest_files(), decode_checkpoint, sentinel)
    assert not faults, listed(faults)


def test_decode_checkpoint__tied_weights_stay_tied():
    content = next(
        e.content()
        for e in corpus.honest_files()
        if e.name.endswith('ed_zip') and '/shared' in e.name
    )
    found = decode_checkpoint(content, 'x.pth')
    assert found['a'].data_ptr() == found['b'].data_ptr()
    start = found['a'].data_ptr() + 2 * found['a'].itemsize
    assert found['c'].data_ptr() == start


def test_read_checkpoint__a_folder_is_not_a_file(tmp_path):
    (tmp_path / 'x.pth').mkdir()
    with pytest.raises(FileNotFoundError, match=r'x\.pth can not be found'):
        read_checkpoint(tmp_path / 'x.pth')


# --- the judge itself ------------------------------------------------------


HONEST = Entry('judge/x', zipped(b'\x80\x02}.'), Allowed.READ, {})


def test_judged__finds_what_a_reader_must_not_do(sentinel):
    def crash(content, name):
        os.kill(os.getpid(), signal.SIGSEGV)

    def hang(content, name):
        while True:
            pass

    def execute(content, name):
        os.system(f'touch {sentinel}')
        raise UnreadableCheckpointError(name)

    def greedy(content, name):
        return {'x': len(bytearray(os.urandom(1)) * (300 << 20))}

    def late(content, name):
        end = time.process_time() + 1.5
        while time.process_time() < end:
            pass

    faults = {}
    # Freed memory that this process keeps must not hide what is used again.
    blocks = [bytearray(100_000) for _ in range(6000)]
    del blocks[:-1]
    for reader in (crash, hang, execute, greedy, late):
        found = judged([HONEST], reader, sentinel, seconds=1)
        faults[reader.__name__] = found['judge/x']
    assert faults['crash'] == 'a crash (SIGSEGV)'
    assert faults['hang'] == faults['late'] == 'a hang (over 1 s)'
    assert faults['execute'].startswith('it ran something: ["os.system')
    assert faults['greedy'].endswith(f' MiB for {len(HONEST.content())} bytes')
    assert not sentinel.exists()


def test_judged__finds_wrong_messages_and_contents(sentinel):
    def fault(reader, entry=HONEST):
        return judged([entry], reader, sentinel).get(entry.name, '')

    def raises(error):
        def reader(content, name):
            raise error(name)

        return reader

    assert 'a raw KeyError' in fault(raises(KeyError))
    assert fault(raises(ValueError)) == 'it raised ValueError'
    assert fault(raises(UnreadableCheckpointError)) == 'it was refused'
    assert fault(lambda *_: {}) == ''
    assert 'something else' in fault(lambda *_: {'w': 1})
    hostile = refused('judge/y', b'x')
    assert fault(lambda *_: {}, hostile) == 'it was read'
    assert fault(raises(UnreadableCheckpointError), hostile) == ''

    def speaks(content, name):
        raise UnreadableCheckpointError(f'{name}: \x1b[2J')

    assert 'control characters' in fault(speaks, hostile)


def test_foreign__finds_memory_that_is_not_from_the_file():
    content = b'abc' + torch.tensor(VALUES).numpy().tobytes() + b'xyz'
    good = torch.tensor(VALUES)
    assert foreign({'w': [good, (good.reshape(2, 2),)]}, content) == ''
    expanded = torch.tensor([2.0]).expand(5).contiguous()
    assert foreign(expanded, content) == ''
    for bad in (
        good + 1,
        torch.empty(3).fill_(1.5),
        torch.zeros(4, dtype=torch.bool),
        torch.zeros(1000)[:1],
        torch.empty(10**12, device='meta'),
        torch.zeros(2).to_sparse(),
        good.numpy().astype('f8'),
        sys,
        int,
    ):
        assert foreign({'w': [bad]}, content), bad


def test_judged__full_unpickling_has_faults(sentinel):
    """Plain torch fails on the corpus, so passing it means something."""

    def trust(content, name):
        return torch.load(io.BytesIO(content), weights_only=False)

    entries = [e for e in corpus.hostile_files(sentinel) if '_zip' in e.name]
    assert len(judged(entries, trust, sentinel)) > 40
    assert Path.cwd().exists()
