# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Files that are not checkpoints, or hold something else than weights."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

from .entry import Entry, harmless, read, refused
from .opcodes import (
    HOOKS,
    NONE,
    START,
    dict_of,
    integer,
    list_of,
    tensor,
    text,
)
from .safetensors_files import made
from .zip_writer import zipped


def _saved(save: str) -> bytes:
    stream = io.BytesIO()
    if save in ('JPEG', 'PNG'):
        Image.new('RGB', (8, 8), 'red').save(stream, save)
    elif save == 'npz':
        np.savez(stream, w=np.arange(4.0))
    elif save == 'npy':
        np.save(stream, np.arange(4.0))
    return stream.getvalue()


def _other_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as file:
        file.writestr('word/document.xml', '<xml/>')
    return stream.getvalue()


def other_files() -> Iterator[Entry]:
    """Yield all files of this kind."""
    page = b'<!DOCTYPE html>\n<html><body>Please log in</body></html>'
    pointer = b'version https://git-lfs.github.com/spec/v1\nsize 12345\n'
    for label, content in (
        ('empty', b''), ('a_zero', b'\0'), ('a_letter', b'P'),
        ('a_stop', b'.'), ('pk', b'PK'), ('text', b'no weights here\n'),
        ('html', page), ('json', json.dumps({'w': [1.0]}).encode()),
        ('a_git_lfs_pointer', pointer), ('jpeg', _saved('JPEG')),
        ('png', _saved('PNG')), ('npz', _saved('npz')),
        ('npy', _saved('npy')), ('gzip', gzip.compress(page)),
        ('another_zip', _other_zip()), ('elf', b'\x7fELF' + bytes(200)),
        ('zeros', bytes(100_000)), ('ones', b'\xff' * 100_000),
        ('safetensors', made({})), ('script', b'#!/bin/sh\ntouch x\n'),
        ('python', b'cos\n'), ('newlines', b'\n' * 1000),
        ('pickle_2', b'\x80\x02'), ('csv', b'a,b\n1,2\n'),
    ):  # fmt: skip
        yield refused(f'file/{label}', content)
        if label != 'safetensors':
            yield refused(
                f'file/{label}_as_safetensors', content, '.safetensors'
            )
    values = {
        'a_tensor': tensor(), 'a_list': list_of(tensor()), 'none': NONE,
        'a_number': integer(7), 'a_text': text('weights'), 'true': b'\x88',
    }  # fmt: skip
    for label, value in values.items():
        yield refused(f'holds/{label}', zipped(START + value + b'.'))
        yield harmless(
            f'holds/{label}_as_state_dict',
            zipped(START + dict_of((text('state_dict'), value)) + b'.'),
        )
    state = text('state_dict')
    yield harmless('holds/nothing', zipped(START + b'}.'))
    yield harmless('holds/an_ordered_dict', zipped(START + HOOKS + b'.'))
    for label, pair in (
        ('text', (text('w'), text('evil'))), ('none', (text('w'), NONE)),
        ('number', (text('w'), integer(1))),
        ('list', (text('w'), list_of(tensor()))),
        ('dict', (text('w'), dict_of())),
        ('key_a_number', (integer(5), tensor())),
        ('key_none', (NONE, tensor())), ('key_true', (b'\x88', tensor())),
        ('key_empty', (text(''), tensor())),
        ('key_with_escapes', (
            text('\x1b[2J\x1b]0;x\x07\r\nINFO all is well'), tensor())),
        ('key_of_1_mb', (text('k' * 1_000_000), tensor())),
        ('key_of_dots', (text('.' * 10_000), tensor())),
    ):  # fmt: skip
        yield harmless(
            f'holds/state_dict_of_{label}',
            zipped(START + dict_of((state, dict_of(pair))) + b'.'),
        )
    for label, meta in (
        ('text', text('x')),
        ('none', NONE),
        ('list', list_of()),
        ('epoch_text', dict_of((text('epoch'), text('two')))),
        ('epoch_negative', dict_of((text('epoch'), integer(-5)))),
        ('epoch_2_2000', dict_of((text('epoch'), integer(1 << 2000)))),
    ):
        yield harmless(
            f'holds/meta_{label}',
            zipped(
                START
                + dict_of(
                    (state, dict_of((text('w'), tensor()))),
                    (text('meta'), meta),
                )
                + b'.'
            ),
        )
    yield read(
        'holds/a_bare_state_dict',
        zipped(START + dict_of((text('w'), tensor())) + b'.'),
        {'w': torch.tensor([1.0, 2.0, 3.0, 4.0])},
    )
