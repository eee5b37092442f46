# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Hostile files: they run code in an unpickler without restrictions."""

import argparse
import codecs
import collections
import copyreg
import functools
import importlib
import io
import operator
import os
import pickle
import runpy
import shutil
import subprocess
import tarfile
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from .entry import Entry, refused
from .zip_writer import archive, records

FORMS = ('zip', 'legacy', 'bare0', 'bare2', 'bare4', 'bare5')
# A few payloads in each of these forms are enough.
OTHER_FORMS = ('tar', 'deflated', 'safetensors')
FEW = ('os_system', 'eval', 'getattr_globals', 'build_setstate')


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) + ((state,) if state else ())

    def __reduce__(self) -> tuple:
        return self.parts


class Chain:
    """Pickles as ``getattr(getattr(object, '__class__'), name)(...)``."""

    def __init__(self, *path: Any) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        if len(self.path) == 2:
            return getattr, self.path
        return getattr, (Chain(*self.path[:-1]), self.path[-1])


def payloads(sentinel: Path) -> dict[str, Any]:
    """Objects that run code, or could, if they are loaded without limits.

    Args:
        sentinel: A file that most of them create when they run.
    """
    command = f'touch {sentinel}'
    source = f'open({str(sentinel)!r}, "w").close()'
    return {
        'os_system': Call(os.system, command),
        'eval': Call(eval, source),
        'exec': Call(exec, source),
        'import': Call(__import__, 'os'),
        'import_module': Call(importlib.import_module, 'antigravity'),
        'open': Call(open, str(sentinel), 'w'),
        'popen': Call(os.popen, command),
        'makedirs': Call(os.makedirs, str(sentinel)),
        'rmtree': Call(shutil.rmtree, str(sentinel)),
        'getattr_init': Call(getattr, HistoryBuffer, '__init__'),
        'getattr_globals': Chain(HistoryBuffer, 'min', '__globals__'),
        'getattr_builtins': Chain(HistoryBuffer, '__init__', '__builtins__'),
        'getattr_namespace': Chain(argparse.Namespace, '__init__'),
        'methodcaller': Call(operator.methodcaller, 'system', command),
        'attrgetter': Call(operator.attrgetter, 'system'),
        'copyreg': Call(copyreg._reconstructor, Call, object, None),
        'copyreg_add': Call(copyreg.add_extension, 'os', 'system', 1),
        'partial': Call(functools.partial, os.system, command),
        'reduce': Call(functools.reduce, os.system, [command, command]),
        'map': Call(map, os.system, [command]),
        'codec_register': Call(codecs.register, os.system),
        'reduce_in_args': Call(
            collections.OrderedDict, [('a', Call(os.system, command))]
        ),
        'reduce_as_key': {Call(os.system, command): 1},
        'reduce_in_tuple': (1, (Call(os.system, command),)),
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
        'torch_from_file': Call(torch.from_file, str(sentinel), True, 8),
        'storage_from_bytes': Call(
            torch.storage._load_from_bytes,
            pickle.dumps(Call(os.system, command)),
        ),
        'jit_load': Call(torch.jit.load, str(sentinel)),
        'hub': Call(torch.hub.load, str(sentinel), 'x'),
        'numpy_load': Call(np.load, str(sentinel)),
        'numpy_fromfile': Call(np.fromfile, str(sentinel)),
        'numpy_object': np.array([Call(os.system, command)], dtype=object),
        'numpy_plain_object': np.array([None, {}], dtype=object),
        'numpy_fields': np.zeros(2, dtype=[('a', 'O'), ('b', 'f4')]),
        'numpy_memmap': Call(np.memmap, str(sentinel), 'u1', 'w+', 0, 10),
        'pickle_loads': Call(
            pickle.loads, pickle.dumps(Call(os.system, command))
        ),
        'subprocess': Call(subprocess.Popen, ['touch', str(sentinel)]),
        'check_output': Call(subprocess.check_output, ['touch', sentinel]),
        'runpy': Call(runpy.run_path, str(sentinel)),
        'module': nn.Linear(2, 2),
        'sequential': nn.Sequential(nn.ReLU()),
        'delete': Call(os.unlink, str(sentinel)),
    }


def opcode_payloads(
    sentinel: Path, allowed: str = 'argparse.Namespace'
) -> dict[str, bytes]:
    """Pickles written by hand, with opcodes that Python rarely writes.

    Args:
        sentinel: A file that most of them create when they run.
        allowed: A class that the reader lets a pickle create.
    """
    module, _, cls = allowed.rpartition('.')

    def dotted(name: str) -> bytes:
        """Names of protocol 4, the second one with dots."""
        return (
            b'\x80\x04'
            + b''.join(
                b'\x8c' + bytes([len(text)]) + text.encode()
                for text in (module, f'{cls}.{name}')
            )
            + b'\x93.'
        )

    command = f'touch {sentinel}'.encode()
    text = b'X' + len(command).to_bytes(4, 'little') + command
    call = b'cos\nsystem\n'
    instance = f'c{module}\n{cls}\n'.encode()
    return {
        'inst': b'\x80\x02(' + text + b'ios\nsystem\n.',
        'obj': b'\x80\x02(' + call + text + b'o.',
        'global_posix': b'\x80\x02cposix\nsystem\n' + text + b'\x85R.',
        'stack_global': b'\x80\x04\x8c\x02os\x8c\x06system\x93'
        + text + b'\x85R.',
        'newobj': b'\x80\x02' + call + text + b'\x85\x81.',
        'newobj_ex': b'\x80\x04' + call + text + b'\x85}\x92.',
        'build_setstate': b'\x80\x02' + instance + b')\x81}X\x0c\x00\x00\x00'
        b'__setstate__' + call + b'sb' + text + b'b.',
        'build_class': b'\x80\x02' + instance + b'N}X\x08\x00\x00\x00__init__'
        + call + b's\x86b' + text + b'\x85R.',
        'build_function': b'\x80\x02ctorch._utils\n_rebuild_parameter\n'
        b'N}X\x0c\x00\x00\x00__defaults__K\x01s\x86b.',
        'extension': b'\x80\x02\x82\x01' + text + b'\x85R.',
        'persistent': b'\x80\x02X\x06\x00\x00\x00module' + call
        + b'NN\x87\x85Q.',
        'persistent_class': b'\x80\x02(X\x07\x00\x00\x00storage' + call
        + b'X\x01\0\0\x000X\x03\0\0\x00cpuK\x04tQ.',
        'build_state': b'\x80\x02' + instance
        + b'N}X\x05\x00\x00\x00stateK\x01s\x86b.',
        'dotted': dotted('__init__'),
        'dotted_globals': dotted('__init__.__globals__'),
        'memo': b'\x80\x02' + call + b'q\x010N' + b'h\x01' + text
        + b'\x85R.',
        'python2': b'c__builtin__\neval\n' + text + b'\x85R.',
        'text_of_protocol_0': b"cos\nsystem\n(S'" + command + b"'\ntR.",
    }  # fmt: skip


def _in_form(payload: Any, form: str) -> bytes:
    """Save a payload as the state dict of a checkpoint."""
    holder = {'state_dict': payload}
    stream = io.BytesIO()
    if form.startswith('bare'):
        return pickle.dumps(holder, int(form[4:]))
    if form == 'deflated':
        with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as file:
            file.writestr('archive/data.pkl', pickle.dumps(holder, 2))
            file.writestr('archive/version', '3\n')
    elif form == 'tar':
        with tarfile.open(fileobj=stream, mode='w') as file:
            for name in ('sys_info', 'pickle', 'storages', 'tensors'):
                data = pickle.dumps(holder, 2)
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    else:
        torch.save(
            holder, stream, _use_new_zipfile_serialization=form != 'legacy'
        )
    return stream.getvalue()


def code(sentinel: Path) -> Iterator[Entry]:
    """Yield all files of this kind.

    Args:
        sentinel: A file that most of them create when they run.
    """
    objects = payloads(sentinel)
    for name, payload in objects.items():
        for form in FORMS:
            yield refused(f'code/{name}_{form}', _in_form(payload, form))
    for name in FEW:
        for form in OTHER_FORMS:
            content = _in_form(objects[name], form)
            suffix = '.safetensors' if form == 'safetensors' else '.pth'
            yield refused(f'code/{name}_{form}', content, suffix)
    for name, opcodes in opcode_payloads(sentinel).items():
        yield refused(f'code/raw_{name}_bare', opcodes)
        yield refused(f'code/raw_{name}_zip', archive(*records(opcodes)))
