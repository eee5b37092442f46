# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The reader: honest files, its limits, and what it says about damage."""

import io
import pickle
import re
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from mmcae.checkpoint import limits, pickle_bytes, pickle_machine
from mmcae.checkpoint.decoding import decode_checkpoint
from mmcae.checkpoint.errors import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.pickle_machine import PickleMachine
from mmcae.checkpoint.tensors import StorageRecord, tensor_record


def saved(obj, **options):
    """Return the bytes that ``torch.save`` writes."""
    stream = io.BytesIO()
    torch.save(obj, stream, **options)
    return stream.getvalue()


def archive(content, **records):
    """Make a checkpoint around a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as file:
        file.writestr('archive/data.pkl', content)
        for name, data in records.items():
            file.writestr(f'archive/data/{name}', data)
    return stream.getvalue()


def machine(content):
    return PickleMachine(content, {}, lambda pid: pid).load()


# --- honest files ----------------------------------------------------------


def test_decode__tensors_of_one_storage_share_it(subtests):
    whole = torch.arange(12.0)
    given = dict(a=whole, b=whole[3:9:2], c=whole.view(3, 4).T)
    for zipped in (True, False):
        with subtests.test(zipped=zipped):
            content = saved(given, _use_new_zipfile_serialization=zipped)
            found = decode_checkpoint(content, 'x.pth')
            for key, value in given.items():
                assert torch.equal(found[key], value)
                assert found[key].stride() == value.stride()
            found['a'][3] = 100.0
            assert found['b'][0] == 100.0
            assert found['c'][3, 0] == 100.0


def test_decode__keeps_parameters_and_requires_grad():
    given = dict(
        w=nn.Parameter(torch.ones(2)),
        frozen=nn.Parameter(torch.ones(2), requires_grad=False),
        leaf=torch.ones(2, requires_grad=True),
        plain=torch.ones(2),
    )
    found = decode_checkpoint(saved(given), 'x.pth')
    for key, value in given.items():
        assert type(found[key]) is type(value)
        assert found[key].requires_grad is value.requires_grad


def test_decode__a_tensor_with_attributes_is_a_tensor():
    given = torch.ones(2)
    given.note = 'x'
    found = decode_checkpoint(saved({'w': given}), 'x.pth')
    assert torch.equal(found['w'], given)


MAP_LOCATIONS = {
    'a name': 'cpu',
    'none': None,
    'a device': torch.device('cpu'),
    'a dictionary': {'cpu': 'cpu'},
    'a function': lambda storage, location: storage,
    'a function that declines': lambda storage, location: None,
}


def test_decode__map_location_is_that_of_torch(subtests):
    content = saved({'w': torch.ones(2)})
    for name, where in MAP_LOCATIONS.items():
        with subtests.test(name=name):
            found = decode_checkpoint(content, 'x.pth', where)
            assert torch.equal(found['w'], torch.ones(2))


def test_decode__map_location_reaches_another_device():
    content = saved({'w': torch.ones(2)})
    for where in ('meta', torch.device('meta'), {'cpu': 'meta'}):
        found = decode_checkpoint(content, 'x.pth', where)
        assert found['w'].is_meta
    seen = []
    decode_checkpoint(
        content, 'x.pth', lambda s, location: seen.append(location)
    )
    assert seen == ['cpu']


def test_decode__says_how_to_read_a_file_of_a_missing_device():
    content = saved({'w': torch.ones(2)})
    with pytest.raises(UnreadableCheckpointError, match="map_location='cpu'"):
        decode_checkpoint(content, 'x.pth', 'xla:0')


def test_decode__reads_a_file_without_checksums():
    torch.serialization.set_crc32_options(False)
    try:
        content = saved({'w': torch.arange(9.0)})
    finally:
        torch.serialization.set_crc32_options(True)
    found = decode_checkpoint(content, 'x.pth')
    assert torch.equal(found['w'], torch.arange(9.0))


def test_decode__one_changed_bit_is_noticed():
    content = bytearray(saved({'w': torch.zeros(100)}))
    place = content.rindex(bytes(400)) + 200
    content[place] ^= 1
    with pytest.raises(UnreadableCheckpointError, match='checksum'):
        decode_checkpoint(bytes(content), 'x.pth')


def test_decode__an_expanded_tensor_gets_memory_of_its_own():
    given = torch.ones(1).expand(1000, 4)
    found = decode_checkpoint(saved({'w': given}), 'x.pth')['w']
    assert torch.equal(found, given)
    assert found.is_contiguous()


# --- limits ----------------------------------------------------------------


def test_decode__an_expanded_tensor_has_a_limit():
    content = saved({'w': torch.ones(1).expand(limits.MAX_EXPANDED, 4)})
    with pytest.raises(UnreadableCheckpointError, match='repeats'):
        decode_checkpoint(content, 'x.pth')
    many = {
        i: torch.ones(1).expand(limits.MAX_EXPANDED // 8) for i in range(3)
    }
    with pytest.raises(UnreadableCheckpointError, match='repeat elements'):
        decode_checkpoint(saved(many), 'x.pth')


def test_decode__shared_containers_have_a_limit():
    shared = ()
    for _ in range(40):
        shared = (shared, shared)
    with pytest.raises(UnreadableCheckpointError, match='repeated too often'):
        decode_checkpoint(saved({'x': shared}), 'x.pth')


def test_decode__levels_have_a_limit():
    deep = archive(b'\x80\x02}K\x01' + b']' * 5000 + b'a' * 4999 + b's.')
    with pytest.raises(UnreadableCheckpointError, match='100 levels'):
        decode_checkpoint(deep, 'x.pth')


def test_decode__an_object_may_not_contain_itself():
    itself = {}
    itself['again'] = itself
    with pytest.raises(UnreadableCheckpointError, match='contains itself'):
        decode_checkpoint(saved(itself), 'x.pth')


def test_load__opcodes_have_a_limit(monkeypatch):
    monkeypatch.setattr(pickle_machine, 'MAX_OPCODES', 10)
    with pytest.raises(ValueError, match='10 opcodes'):
        machine(b'\x80\x02' + b'N0' * 10 + b'N.')


def test_load__wide_text_has_a_limit(monkeypatch):
    monkeypatch.setattr(pickle_bytes, 'MAX_WIDE_TEXT', 100)
    narrow = pickle.dumps('\xe9' * 1000, 2)
    assert machine(narrow) == '\xe9' * 1000
    with pytest.raises(ValueError, match='Latin-1'):
        machine(pickle.dumps('\u4e2d' * 1000, 2))


def test_load__copies_have_a_limit():
    """The file has a megabyte once, and each call would copy it."""
    text = b'X' + (1 << 20).to_bytes(4, 'little') + b'a' * (1 << 20)
    call = b'h\x01h\x00h\x02\x86R0'
    content = (
        b'\x80\x02c_codecs\nencode\nq\x01' + text + b'q\x00'
        b'X\x06\x00\x00\x00latin1q\x020' + call * 10 + b'0N.'
    )
    with pytest.raises(UnreadableCheckpointError, match='copies'):
        decode_checkpoint(archive(content), 'x.pth')


def test_load__keys_cannot_be_made_to_collide():
    """Integers that differ by 2**61 - 1 have the same hash."""
    step = (1 << 61) - 1
    many = {i * step: None for i in range(100)}
    with pytest.raises(ValueError, match='a key of'):
        machine(pickle.dumps(many, 2))
    tuples = {(i,): None for i in range(limits.MAX_TUPLE_KEYS + 1)}
    with pytest.raises(ValueError, match='keys that are tuples'):
        machine(pickle.dumps(tuples, 2))


PICKLES = (
    (b'N}K\x01K\x02s.', 'ends too early'),
    (b'', 'truncated'),
    (b'.', 'ends too early'),
    (b'(N0.', 'ends too early'),
    (b'(0.', 'takes more than the stack has'),
    (b't.', 'needs a mark'),
    (b']K\x00K\x01s.', 'an entry of a list'),
    (b'}K\x00a.', 'an item of a dict'),
    (b'N(K\x00e.', 'items of a NoneType'),
    (b'}(K\x00u.', 'a key without a value'),
    (b'}]K\x01s.', 'a list as a key'),
    (b'h\x07.', 'object 7'),
    (b'}}b.', 'a state for a dict'),
    (b'})R.', 'a call of a dict'),
    (b'8.', 'not needed for plain data'),
    (b'\x80\x63N.', 'pickle protocol 99'),
    (b'\x8b\xff\xff\xff\xff.', 'truncated'),
)


def test_load__says_what_is_wrong(subtests):
    for content, message in PICKLES:
        with (
            subtests.test(content=content),
            pytest.raises(ValueError, match=message),
        ):
            machine(content)


def test_load__an_integer_may_have_no_bytes():
    assert machine(b'\x8b\x00\x00\x00\x00.') == 0


def test_decode__does_not_depend_on_what_torch_allows(monkeypatch):
    """The reader calls neither torch.load nor Python's unpickler."""
    monkeypatch.setattr(torch, 'load', None)
    monkeypatch.setattr(pickle, 'Unpickler', None)
    found = decode_checkpoint(saved({'w': torch.ones(2)}), 'x.pth')
    assert torch.equal(found['w'], torch.ones(2))


def test_decode__names_are_shown_without_control_characters():
    name = 'os\x1b[2J'
    content = archive(f'\x80\x02c{name}\nsystem\n.'.encode('latin-1'))
    with pytest.raises(UnsafeCheckpointError) as info:
        decode_checkpoint(content, 'x\n\x1b[2J.pth')
    assert str(info.value).isprintable()
    assert r'x\n\x1b[2J.pth' in str(info.value)


def test_decode__refuses_another_byte_order():
    other = 'big' if sys.byteorder == 'little' else 'little'
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as file:
        file.writestr('archive/data.pkl', pickle.dumps({}, 2))
        file.writestr('archive/byteorder', other)
    with pytest.raises(UnreadableCheckpointError, match='byte order'):
        decode_checkpoint(stream.getvalue(), 'x.pth')


class Mine:
    """A class of a user, saved beside the weights."""


def test_docs__take_the_weights_out_of_a_trusted_file(tmp_path, monkeypatch):
    """The lines of docs/weights.md work, and the reader still refuses."""
    page = Path(__file__).parents[2] / 'docs/weights.md'
    lines = re.search(
        r'```python\n(import torch\n.*?weights_only=False.*?)```',
        page.read_text(),
        re.DOTALL,
    )[1]
    monkeypatch.chdir(tmp_path)
    given = nn.Linear(2, 2).state_dict()
    torch.save({'state_dict': given, 'extra': Mine()}, 'trusted.pth')
    with torch.serialization.safe_globals([Mine]):
        content = Path('trusted.pth').read_bytes()
        with pytest.raises(UnsafeCheckpointError, match='Mine'):
            decode_checkpoint(content, 'trusted.pth')
    exec(lines, vars(types.ModuleType('lines')))
    found = decode_checkpoint(Path('weights.pth').read_bytes(), 'weights.pth')
    assert torch.equal(found['state_dict']['weight'], given['weight'])


def test_decode__entries_may_not_lie_inside_each_other():
    """Bytes that count twice would make a small file look large."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, 'w') as file:
        file.writestr('archive/data/1', b'12345678')
    entry = file.infolist()[0]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as file:
        file.writestr('archive/data.pkl', pickle.dumps({}, 2))
        file.writestr('archive/data/0', inner.getvalue())
        entry.header_offset = stream.getvalue().index(inner.getvalue())
        file.filelist.append(entry)
    with pytest.raises(UnreadableCheckpointError, match='overlaps'):
        decode_checkpoint(stream.getvalue(), 'x.pth')


OUTSIDE = (
    (0, (2, 3), (3, 2)),
    (7, (0,), (1,)),
    (0, (2, 2), (1 << 62, 1 << 62)),
    (True, (2,), (1,)),
    (0, (2.0,), (1,)),
    (1, (6,), (1,)),
    (-1, (2,), (1,)),
    (0, (2,), (-1,)),
    (0, (1 << 40,), (0,)),
    (0, (-1,), (1,)),
    (0, (2, 2), (1,)),
)


def test_tensor_record__stays_inside_the_storage(subtests):
    storage = StorageRecord(torch.float32, '0', 'cpu', 6, 0, 6)
    message = r' size| stride| offset|storage'
    for offset, size, stride in OUTSIDE:
        with (
            subtests.test(offset=offset, size=size, stride=stride),
            pytest.raises(ValueError, match=message),
        ):
            tensor_record(storage, offset, size, stride)
