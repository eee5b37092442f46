# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Honest files, which a reader must read."""

import argparse
import collections
import contextlib
import io
import pathlib
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from .entry import Allowed, Entry

# torch saves and loads these dtypes, but their values are not plain numbers.
_OTHER_DTYPES = ('qint', 'quint', 'bits', 'bcomplex')


def saved(content: Any, form: str = 'zip', protocol: int = 2) -> bytes:
    """Save as torch does.

    Args:
        content: What to save.
        form: ``'zip'`` or ``'legacy'``.
        protocol: The protocol of the pickle.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.save(
            content,
            stream,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=form == 'zip',
        )
    return stream.getvalue()


def dtypes() -> list[torch.dtype]:
    """Return all dtypes of numbers that this version of torch can save."""
    found = {v for v in vars(torch).values() if isinstance(v, torch.dtype)}
    kept = []
    for dtype in sorted(found, key=str):
        if not str(dtype).removeprefix('torch.').startswith(_OTHER_DTYPES):
            with contextlib.suppress(KeyError, RuntimeError, TypeError):
                saved(_of_type(dtype))
                kept.append(dtype)
    return kept


def _of_type(dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    size = 6 * dtype.itemsize
    if dtype == torch.bool:
        return torch.tensor([True, False, True, True, False, True])
    return torch.randint(
        0, 100, (size,), dtype=torch.uint8, generator=generator
    ).view(dtype)


def _tensors() -> dict[str, Any]:
    """Return contents by name; each of them is saved in both formats."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    shared = torch.randn(10)
    grown = collections.OrderedDict(
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()
    )
    grown._metadata = {'': {'version': 1}, '0': {'version': 2}}
    return {
        'module': nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU()).state_dict(),
        'metadata': grown,
        'no_dimension': {'w': torch.tensor(3.5), 'n': torch.tensor(7)},
        'empty': {'a': torch.empty(0), 'b': torch.empty(3, 0, 2)},
        'nothing': {},
        'transposed': {'w': base.permute(2, 0, 1), 'v': base.mT},
        'expanded': {'w': torch.ones(3, 1).expand(3, 5)},
        'expanded_number': {'w': torch.tensor(2.0).expand(100)},
        'sliced': {'w': base[1, 1:, ::2]},
        'windows': {'w': torch.arange(9.0).unfold(0, 3, 1)},
        'shared': {'a': shared, 'b': shared, 'c': shared[2:5]},
        'shared_views': {'a': shared[:5], 'b': shared[5:]},
        'parameters': {'w': nn.Parameter(torch.randn(2, 3)),
                       'f': nn.Parameter(torch.randn(2), False)},
        'gradients': {'w': torch.randn(3, requires_grad=True)},
        'buffers': {'w': nn.Buffer(torch.randn(2))}
        if hasattr(nn, 'Buffer') else {'w': torch.randn(2)},
        'channels_last': {'w': torch.randn(2, 3, 4, 4).to(
            memory_format=torch.channels_last)},
        'many': {f'layer.{n}': torch.full((3,), float(n)) for n in range(500)},
        'odd_names': {'': torch.ones(1), 'ä ö\u20ac': torch.ones(2),
                      'a.b-c/d': torch.ones(3)},
        'not_numbers': {'w': torch.tensor([float('nan'), float('inf'), -0.0])},
        'large': {'w': torch.arange(300_000, dtype=torch.int32)},
    }  # fmt: skip


def _plain_values() -> dict[str, Any]:
    memo = [1, 2]
    cycle = dict(weights=torch.ones(2), same=[memo, memo])
    return {
        'numbers': dict(a=1, b=-(2**31), c=2**31, d=2**63, e=-(2**70), f=1.5,
                        g=float('inf'), h=True, i=None, j=1 + 2j),
        'texts': dict(a='', b='x' * 300, c='x' * 70_000, d='\u20ac\U0001f600',
                      e='\n\0'),
        'bytes': dict(a=b'', b=b'\x00\xff', c=bytes(range(256)) * 300),
        'bytearray': dict(a=bytearray(b'abc')),
        'containers': dict(a=[], b=(), c={}, d=[[1, (2, [3, {'x': (4,)}])]],
                           e=(1,), f=(1, 2), g=(1, 2, 3), h=(1, 2, 3, 4),
                           i=list(range(3000)), j={1: 2, (3, 4): 5, None: 6,
                                                   1.5: 7, False: 8}),
        'sets': dict(a={1, 2, 3}, b=set()),
        'counter': dict(a=collections.Counter('abca')),
        'shared_list': cycle,
        'torch_values': dict(a=torch.Size([2, 3]), b=torch.float32,
                             c=torch.device('cpu'), d=torch.device('cuda', 1),
                             e=torch.uint16, f=torch.float8_e5m2),
        'slice': dict(a=slice(1, None, 2)),
        'path': dict(a=pathlib.PosixPath('/data/imagenet/train'),
                     b=pathlib.PosixPath('x')),
        'namespace': dict(args=argparse.Namespace(
            lr=1e-3, betas=[0.9, 0.98], name='cae', out=None)),
        'ordered': collections.OrderedDict(b=1, a=collections.OrderedDict(
            x=torch.ones(1))),
        'numpy': dict(
            a=np.float64(0.5), b=np.int64(-3), c=np.float32(0.1),
            d=np.arange(6, dtype=np.uint8).reshape(2, 3),
            e=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            f=np.array(['x', 'yz']), g=np.array([b'x', b'yz']),
            h=np.arange(3, dtype='>i4'), i=np.array(1.5), j=np.empty((0, 3)),
            k=np.array([1 + 2j]), m=np.array([True]), n=np.bool_(True),
            o=np.float16([1.0]), p=np.dtype('float32'),
            q=np.arange(100_000)),
        'random_states': dict(
            python=random.Random(0).getstate(),
            numpy=np.random.RandomState(0).get_state(),
            torch=torch.Generator().manual_seed(0).get_state()),
    }  # fmt: skip


def _training(epochs: int = 3) -> dict[str, Any]:
    """Return a checkpoint in the layout of mmengine's Runner."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(8, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict()
    history = HistoryBuffer([1.0, 2.5, 0.5], [1, 1, 1])
    history.update(0.25)
    info = collections.OrderedDict(
        epoch=epochs, iter=9, max_iters=90, loop_stage='train',
        dataset_meta=dict(classes=('a', 'b'), palette=np.eye(3)),
        best_ckpt='work_dirs/best.pth', cfg='model = dict()\n' * 100,
    )  # fmt: skip
    scalars = {'train/loss': history, 'train/lr': HistoryBuffer([0.1], [1])}
    return dict(
        meta=dict(
            epoch=epochs, iter=9, seed=0, experiment_name='x_2026',
            time='20261127_101010', mmengine_version='0.10.12',
            cfg='model = dict()\n' * 100, dataset_meta=info['dataset_meta'],
        ),
        state_dict=model.state_dict(),
        message_hub=dict(
            log_scalars=collections.OrderedDict(scalars),
            runtime_info=info,
            resumed_keys=collections.OrderedDict(epoch=True, iter=True),
        ),
        optimizer=optimizer.state_dict(),
        param_schedulers=[schedule, dict(schedule, _step_count=5)],
        ema_state_dict=model.state_dict(),
    )  # fmt: skip


def _authors() -> dict[str, Any]:
    """Return a checkpoint in the layout of the authors' repositories."""
    args = argparse.Namespace(
        batch_size=64, epochs=300, opt_betas=[0.9, 0.98], data_path='/data',
        distributed=True, gpu=0, window_size=(14, 14), model='cae_base',
        output_dir=pathlib.PosixPath('out'), device=torch.device('cpu'),
        resume='', lr=1.5e-3, clip_grad=None,
    )  # fmt: skip
    model = nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    scaler = dict(scale=65536.0, growth_factor=2.0, _growth_tracker=0)
    return dict(
        model=model.state_dict(),
        optimizer=optimizer.state_dict(),
        epoch=299,
        scaler=scaler,
        args=args,
    )


def honest() -> Iterator[Entry]:
    """Yield all honest files, with their content."""

    def entry(name: str, content: bytes, wanted: Any) -> Entry:
        suffix = '.safetensors' if name.startswith('safetensors') else '.pth'
        return Entry(f'honest/{name}', content, Allowed.READ, wanted, suffix)

    torch.manual_seed(0)
    contents = {**_tensors(), **_plain_values()}
    for dtype in dtypes():
        name = str(dtype).removeprefix('torch.')
        value = _of_type(dtype)
        contents[name] = {
            'w': value,
            'v': value.reshape(2, 3).t(),
            'p': value[2:4],
        }
    contents['training'] = _training()
    contents['authors'] = _authors()
    contents['deepspeed'] = {'module': nn.Linear(1, 2).state_dict()}
    for name, content in contents.items():
        for form in ('zip', 'legacy'):
            yield entry(f'{name}_{form}', saved(content, form), content)
    for protocol in (3, 4, 5):
        content = dict(contents['module'], note='x', values=[1, (2, b'3')])
        yield entry(
            f'protocol_{protocol}', saved(content, 'zip', protocol), content
        )
    yield from _safetensors(entry)


def _safetensors(entry: Callable) -> Iterator[Entry]:
    weights = {'w': torch.randn(2, 3), 'n': torch.tensor(7)}
    for name, metadata, meta in (
        ('plain', None, {}),
        ('metadata', {'format': 'pt', 'note': 'x'}, {'format': 'pt',
                                                     'note': 'x'}),
        ('json', {'epoch': '3', 'arch': '{"a": [1]}', 'note': '5'},
         {'epoch': 3, 'arch': {'a': [1]}, 'note': '5'}),
        ('not_json', {'epoch': 'last'}, {'epoch': 'last'}),
    ):  # fmt: skip
        yield entry(
            f'safetensors_{name}',
            safetensors.torch.save(weights, metadata),
            {'state_dict': weights, 'meta': meta},
        )
    kinds = {
        str(dtype): torch.arange(8, dtype=torch.uint8)
        .repeat(dtype.itemsize)
        .view(dtype)
        for dtype in (
            torch.bfloat16, torch.float16, torch.float64, torch.int8,
            torch.uint16, torch.int64, torch.float8_e4m3fn, torch.float8_e5m2,
        )
    }  # fmt: skip
    kinds |= {'bool': torch.tensor([True, False]), 'none': torch.empty(0, 3)}
    yield entry(
        'safetensors_types',
        safetensors.torch.save(kinds),
        {'state_dict': kinds, 'meta': {}},
    )
    yield entry(
        'safetensors_nothing',
        safetensors.torch.save({}),
        {'state_dict': {}, 'meta': {}},
    )


# --- whole modules, as in the files of OpenAI's tokenizer ------------------


@contextlib.contextmanager
def dalle_package() -> Iterator[types.SimpleNamespace]:
    """Put a package with the names of OpenAI's into ``sys.modules``.

    Its classes are empty.
    """
    names = {
        'encoder': ('Encoder', 'EncoderBlock'),
        'decoder': ('Decoder', 'DecoderBlock'),
        'utils': ('Conv2d',),
    }
    made, modules = {}, {'dall_e': types.ModuleType('dall_e')}
    for part, classes in names.items():
        module = types.ModuleType(f'dall_e.{part}')
        modules[module.__name__] = module
        for name in classes:
            cls = type(name, (nn.Module,), {'__module__': module.__name__})
            made[name] = cls
            setattr(module, name, cls)
    sys.modules.update(modules)
    try:
        yield types.SimpleNamespace(**made)
    finally:
        for name in modules:
            del sys.modules[name]


def _convolution(kind: type, weight: torch.Tensor, bias: torch.Tensor):
    module = kind()
    module.w, module.b = nn.Parameter(weight), nn.Parameter(bias)
    module.n_in, module.use_float16 = weight.shape[1], True
    return module


def module_pickles() -> Iterator[Entry]:
    """Yield files of whole modules, with their state dicts."""
    torch.manual_seed(0)
    with dalle_package() as package:
        for name in ('Encoder', 'Decoder'):
            root = getattr(package, name)()
            root.device = torch.device('cpu')
            block = getattr(package, f'{name}Block')()
            block.post_gain = 0.5
            block.id_path = nn.Identity()
            block.res_path = nn.Sequential(
                collections.OrderedDict(
                    relu=nn.ReLU(),
                    conv=_convolution(
                        package.Conv2d, torch.randn(4, 3, 3, 3), torch.zeros(4)
                    ),
                )
            )
            root.blocks = nn.Sequential(
                block, nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
            )
            wanted = dict(root.state_dict())
            for form in ('zip', 'legacy'):
                content = saved(root, form)
                yield Entry(
                    f'module/{name}_{form}',
                    content,
                    Allowed.READ,
                    wanted,
                    '.pkl',
                )
