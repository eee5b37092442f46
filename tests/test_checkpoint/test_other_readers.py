# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Foreign files that are not checkpoints: features and token stores."""

import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest
import torch
from helpers import corpus
from helpers.isolation import Peak, run_isolated
from helpers.judge import foreign, message_fault
from helpers.mutations import mutant, record_mutant
from safetensors.numpy import save_file

from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.config.check import ConfigError
from mmcae.datasets import TokenStore
from mmcae.evaluation.feature_file import read_features

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([0, 1, 1, 0])
CLASSES = np.array(['cat', 'dog'])


def npz(**change):
    """Make a file of features with changed arrays; None leaves one out."""
    arrays = dict(features=FEATURES, labels=LABELS, classes=CLASSES) | change
    stream = io.BytesIO()
    kept = {key: value for key, value in arrays.items() if value is not None}
    np.savez(stream, **kept)
    return stream.getvalue()


def npz_of(**entries):
    """Make a file of features with raw bytes in place of some arrays."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(npz())) as old,
        zipfile.ZipFile(stream, 'w') as new,
    ):
        for info in old.infolist():
            key = info.filename.removesuffix('.npy')
            new.writestr(info.filename, entries.get(key, old.read(info)))
    return stream.getvalue()


def npy(header, data=b'', size=None):
    text = header.encode() + b'\n'
    size = len(text) if size is None else size
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', size) + text + data


def header(descr="'<f4'", order='False', shape='(4, 3)'):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


def compressed():
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        features=np.zeros((1 << 13, 1 << 12), np.float32),
        labels=LABELS,
        classes=CLASSES,
    )
    return stream.getvalue()


MALFORMED = {
    'no_features': npz(features=None),
    'no_labels': npz(labels=None),
    'no_classes': npz(classes=None),
    'labels_outside': npz(labels=np.array([0, 1, 2, 0])),
    'labels_negative': npz(labels=np.array([0, 1, -1, 0])),
    'labels_float': npz(labels=LABELS.astype('f4')),
    'few_labels': npz(labels=LABELS[:2]),
    'labels_in_a_table': npz(labels=LABELS.reshape(2, 2)),
    'features_in_a_cube': npz(features=np.zeros((4, 3, 2), 'f4')),
    'features_whole': npz(features=FEATURES.astype('i4')),
    'classes_number': npz(classes=np.array(3)),
    'classes_numbers': npz(classes=np.array([1, 2])),
    'objects': npz(classes=np.array(['cat', 'dog'], dtype=object)),
    'fields': npz(features=np.zeros((4, 3), dtype='f4,f4')),
    'compressed_1000_fold': compressed(),
    'shape_of_10_12': npz_of(features=npy(header(shape='(10**12, 3)'))),
    'shape_huge': npz_of(features=npy(header(shape='(999999999999, 3)'))),
    'shape_wraps': npz_of(
        features=npy(header(shape='(4611686018427387905, 4)'), bytes(16))
    ),
    'shape_negative': npz_of(features=npy(header(shape='(-4, -3)'))),
    'shape_text': npz_of(features=npy(header(shape="'ab'"))),
    'type_object': npz_of(features=npy(header("'|O'"), bytes(96))),
    'type_unknown': npz_of(features=npy(header("'<q9'"), bytes(96))),
    'type_of_a_gigabyte': npz_of(
        features=npy(header("'<U1000000000'", shape='()'))
    ),
    'header_calls': npz_of(features=npy('__import__("os").system("true")')),
    'header_nested': npz_of(features=npy('[' * 9000)),
    'header_longer': npz_of(features=npy(header(), size=60_000)),
    'header_not_text': npz_of(features=b'\x93NUMPY\x01\x00\x04\x00\xff\xff'),
    'version_9': npz_of(features=b'\x93NUMPY\x09\x00' + bytes(99)),
    'no_array': npz_of(features=b'something else'),
    'empty_entry': npz_of(features=b''),
    'text': b'no features here',
    'nothing': b'',
    'cut': npz()[:-40],
    'cut_in_the_middle': npz()[:300],
}


def read(path, content):
    """Read a file; return what went wrong."""
    path.write_bytes(content)
    peak = Peak()
    try:
        features, names = read_features(path)
    except UnreadableCheckpointError as error:
        fault = message_fault(str(error), str(path))
    else:
        fault = foreign(features, content) and 'foreign bytes'
        if not fault and len(features) != len(names):
            fault = 'a name is missing'
        fault = fault or 'read'
    if peak.rise() > 2 * len(content) + (200 << 20):
        fault = 'too much memory'
    return fault


def faults_of(outcomes, names):
    found = {}
    for name, outcome in zip(names, outcomes, strict=True):
        fault = outcome.fault or outcome.result
        if fault:
            found[name] = fault
    return found


def test_read_features__gives_what_was_written(tmp_path):
    path = tmp_path / 'x.npz'
    path.write_bytes(npz())
    features, names = read_features(path)
    assert torch.equal(features, torch.from_numpy(FEATURES))
    assert names == ['cat', 'dog', 'dog', 'cat']
    path = tmp_path / 'x.safetensors'
    metadata = {'classes': json.dumps(CLASSES.tolist()), 'paths': '[]'}
    save_file(dict(features=FEATURES, labels=LABELS), path, metadata)
    features, names = read_features(path)
    assert torch.equal(features, torch.from_numpy(FEATURES))
    assert names == ['cat', 'dog', 'dog', 'cat']
    with pytest.raises(FileNotFoundError, match=r'none\.npz can not be found'):
        read_features(tmp_path / 'none.npz')


def test_read_features__says_what_is_wrong(tmp_path):
    path = tmp_path / 'x.npz'
    outcomes = run_isolated(
        list(MALFORMED.values()), lambda content: read(path, content)
    )
    assert not faults_of(outcomes, MALFORMED)


def test_read_features__reads_no_bad_safetensors(tmp_path):
    path = tmp_path / 'x.safetensors'
    entries = [
        entry
        for entry in corpus.malformed_files()
        if entry.suffix == '.safetensors'
        and not entry.name.startswith(('large/', 'safetensors/key'))
    ]
    outcomes = run_isolated(entries, lambda entry: read(path, entry.content()))
    assert not faults_of(outcomes, [entry.name for entry in entries])


@pytest.mark.parametrize(
    'count', [20, pytest.param(200, marks=pytest.mark.slow)]
)
def test_read_features__mutants(tmp_path, count, capsys):
    path, content = tmp_path / 'x.npz', npz()

    def work(seed):
        change = (mutant, record_mutant)[seed % 2]
        return read(path, change(content, random.Random(seed)))

    outcomes = run_isolated(range(count), work)
    fates = [outcome.fault or outcome.result for outcome in outcomes]
    with capsys.disabled():
        print(f'\n{count} mutants of a .npz: {fates.count("read")} read')
    assert set(fates) <= {'', 'read'}


# --- token stores ----------------------------------------------------------

STORE = dict(
    format=1,
    tokenizer=dict(vocab_size=500),
    dataset=dict(images=40),
    grid=[3, 4],
    seed=7,
)
TOKENS = np.arange(12) * 41
HEADERS = {
    'a_list': b'[]',
    'a_number': b'5',
    'null': b'null',
    'nothing': b'',
    'cut': b'{"format": 1, ',
    'not_text': b'\xff\xfe\x00',
    'lists_nested': b'[' * 100_000,
    'dicts_nested': b'{"a":' * 100_000,
    'format_missing': b'{}',
    'format_huge': b'{"format": ' + b'9' * 4000 + b'}',
    'format_text': b'{"format": "\\u001b[2J"}',
    '20_mb': b' ' * (20 << 20),
    **{
        f'{key}_{value!r:.20}': json.dumps({**STORE, key: value}).encode()
        for key, values in dict(
            seed=('7', None, -1, 1.5, [], True, 10**30),
            grid=([], [3], [3, 4, 5], [-3, 4], [1 << 40, 4], 'ab', None,
                  [3.5, 4], ['3', '4']),
            dataset=({}, [], None, dict(images=-1), dict(images='40'),
                     dict(images=1 << 60), dict(images=None)),
            tokenizer=({}, None, dict(vocab_size='x'),
                       dict(vocab_size=1 << 40)),
        ).items()
        for value in values
    },
}  # fmt: skip


def test_open__says_what_is_wrong_with_a_header(tmp_path, subtests):
    path = tmp_path / 'store.json'
    for name, content in HEADERS.items():
        with subtests.test(name=name):
            path.write_bytes(content)
            with pytest.raises(ConfigError) as info:
                TokenStore.open(tmp_path)
            assert not message_fault(str(info.value), str(path))


def test_open__says_what_is_not_a_file(tmp_path):
    store = TokenStore.for_run(tmp_path / 'store', STORE)
    (store.path / 'views_00003.bin').mkdir()
    with pytest.raises(ConfigError, match=r'views_00003\.bin is not a file'):
        TokenStore.open(store.path)
    (tmp_path / 'other/store.json').mkdir(parents=True)
    with pytest.raises(ConfigError, match=r'store\.json is damaged'):
        TokenStore.open(tmp_path / 'other')


@pytest.mark.parametrize(
    'count', [50, pytest.param(300, marks=pytest.mark.slow)]
)
def test_read__mutants_hold_right_tokens_or_nothing(tmp_path, count, capsys):
    given = TokenStore.for_run(tmp_path / 'store', STORE)
    for index in range(40):
        given.write((7, 0, index), (TOKENS + index) % 500)
    files = [given.path / name for name in ('store.json', 'views_00000.bin')]
    contents = [file.read_bytes() for file in files]

    def work(seed):
        chance = random.Random(seed)
        which = seed % 2
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        files[which].write_bytes(mutant(contents[which], chance))
        try:
            store = TokenStore.open(given.path)
        except ConfigError as error:
            return message_fault(str(error), str(given.path))
        found = [store.read((7, 0, index)) for index in range(40)]
        wrong = sum(
            tokens is not None
            and not np.array_equal(tokens, (TOKENS + index) % 500)
            for index, tokens in enumerate(found)
        )
        there = sum(tokens is not None for tokens in found)
        return f'{wrong} wrong tokens' if wrong else f'read {there}'

    outcomes = run_isolated(range(count), work)
    fates = [outcome.fault or outcome.result for outcome in outcomes]
    read_ = [int(fate[5:]) for fate in fates if fate.startswith('read')]
    with capsys.disabled():
        print(
            f'\n{count} mutants of a token store: {len(read_)} opened, '
            f'{sum(read_)} views read'
        )
    assert not [f for f in fates if f and not f.startswith('read')]
