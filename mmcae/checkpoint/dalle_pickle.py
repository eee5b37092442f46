# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""OpenAI's DALL-E pickles: the same reader with a longer allow list.

OpenAI published the tokenizer as whole module objects saved by torch. Such a
file asks the reader to create objects of these classes. Here each class that
it needs is replaced by a stand-in that only keeps its state, every other name
is an error, and only the tensors of the stand-ins are returned.
"""

import os
from typing import Any

from torch import Tensor

from mmcae.checkpoint.allow_list import ALLOWED
from mmcae.checkpoint.decoding import errors_with_name
from mmcae.checkpoint.files import existing_file
from mmcae.checkpoint.finishing import finish
from mmcae.checkpoint.formats import read_pickle
from mmcae.checkpoint.pickle_objects import Name, Stateful
from mmcae.checkpoint.tensors import TensorMaker

_MODULES = (
    'dall_e.encoder.Encoder',
    'dall_e.encoder.EncoderBlock',
    'dall_e.decoder.Decoder',
    'dall_e.decoder.DecoderBlock',
    'dall_e.utils.Conv2d',
    'torch.nn.modules.container.Sequential',
    'torch.nn.modules.activation.ReLU',
    'torch.nn.modules.linear.Identity',
    'torch.nn.modules.pooling.MaxPool2d',
    'torch.nn.modules.upsampling.Upsample',
)


class Module(Stateful):
    """Stand-in for any module: keeps its state and has no code."""

    __slots__ = ('state',)

    def __init__(self) -> None:
        self.state: dict = {}

    def set_state(self, state: Any) -> None:
        """Keep the attributes of the module."""
        if type(state) is not dict:
            raise ValueError('a module without its attributes')
        self.state = state


_NAMES = {**ALLOWED, **{name: Name(name, new=Module) for name in _MODULES}}


def _module_class(pid: Any) -> Name:
    """Resolve torch's reference to a module's class and its source text."""
    cls = pid[1] if len(pid) == 4 and pid[0] == 'module' else None
    if not isinstance(cls, Name) or cls.name not in _MODULES:
        raise ValueError('a reference to something else than a module')
    return cls


def read_module_pickle(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the state dict of a pickled DALL-E encoder or decoder.

    Args:
        path: File written by ``torch.save(module, path)``, in the zip or in
            the older format.

    Returns:
        Names and tensors, as from ``module.state_dict()``.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If it uses a name that a DALL-E module does
            not need. Nothing in it was executed.
        UnreadableCheckpointError: If it is damaged or another kind of file.
    """
    location = existing_file(path)
    with (
        open(location, 'rb') as file,
        errors_with_name(file, str(location), 'a DALL-E encoder or decoder'),
    ):
        described, fetch = read_pickle(file, _NAMES, _module_class)
        module = finish(described, TensorMaker(fetch, 'cpu'))
        return dict(_tensors(module))


def _tensors(module: Any, prefix: str = '') -> list[tuple[str, Tensor]]:
    """List a module's tensors in the order of its state dict."""
    if not isinstance(module, Module):
        raise ValueError(f'{prefix or "the object"} is not a module')
    found = []
    for group in ('_parameters', '_buffers'):
        for name, value in (module.state.get(group) or {}).items():
            if isinstance(value, Tensor):
                found.append((f'{prefix}{name}', value.detach()))
            elif value is not None:
                raise ValueError(f'{prefix}{name} is not a tensor')
    for name, child in (module.state.get('_modules') or {}).items():
        if child is not None:
            found += _tensors(child, f'{prefix}{name}.')
    return found
