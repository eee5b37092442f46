# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Stand-ins for modules that the authors' repository imports.

An import of the authors' model imports their training code too, which needs
``torch._six`` (which torch has removed), requests, attrs, tensorboardX and
timm. It also needs einops, which mmpretrain requires anyway. But a training
step uses only four small functions of timm. So each of these modules that is
not installed gets a stand-in while the repository is imported.
"""

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def stand_ins() -> Iterator[list[str]]:
    """Within the context, an import of a missing module finds a stand-in.

    All installed modules are imported before. A library that works without
    one of the missing packages thus never finds a stand-in for it.

    Yields:
        Names of the modules that are stand-ins.
    """
    missing = [name for name in _CONTENTS if not _importable(name)]
    for name in missing:
        sys.modules[name] = _StandIn(name, _CONTENTS[name])
    try:
        yield missing
    finally:
        for name in missing:
            del sys.modules[name]


class _StandIn(ModuleType):
    """A module that has every name, so that each can be imported.

    A function that is not among the contents raises an error when called.

    Args:
        name: Name of the missing module.
        contents: Contents that the repository uses during its import or in a
            training step.
    """

    def __init__(self, name: str, contents: dict[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(contents)

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):  # Python asks for __path__ and the like
            raise AttributeError(name)
        full_name = f'{self.__name__}.{name}'

        def refuse(*_: Any, **__: Any) -> None:
            raise ModuleNotFoundError(
                f"the authors' code calls {full_name}, and no module "
                f'{self.__name__} is installed here: install it'
            )

        return refuse


def _importable(name: str) -> bool:
    with warnings.catch_warnings():
        # timm says that these modules have moved.
        warnings.simplefilter('ignore', FutureWarning)
        try:
            importlib.import_module(name)
        except ImportError:
            return False
    return True


class _Field:
    """An argument of a constructor, declared in the body of a class."""

    def __init__(self, default: Any, validator: Callable | None) -> None:
        self.default, self.validator = default, validator


def _attr_ib(
    default: Any = inspect.Parameter.empty, validator: Callable | None = None
) -> Any:
    """Declare an argument of the constructor, as ``attr.ib`` does."""
    return _Field(default, validator)


def _attr_s(eq: bool = True, repr: bool = True) -> Callable[[type], type]:
    """Give a class its ``__init__``, as ``attr.s`` does.

    ``eq`` and ``repr`` have no effect: the classes of the ``dall_e`` folder
    are modules, and keep the methods of modules.
    """

    def decorate(cls: type) -> type:
        fields = {
            name: field
            for name, field in vars(cls).items()
            if isinstance(field, _Field)
        }
        for name in fields:
            delattr(cls, name)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature(
            inspect.Parameter(name, kind, default=field.default)
            for name, field in fields.items()
        )

        def construct(self: Any, *args: Any, **kwargs: Any) -> None:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            for name, value in given.arguments.items():
                setattr(self, name, value)
            for name, field in fields.items():
                if field.validator is not None:
                    field.validator(self, field, getattr(self, name))
            if hasattr(self, '__attrs_post_init__'):
                self.__attrs_post_init__()

        cls.__init__ = construct  # type: ignore[misc]
        return cls

    return decorate


def _register_model(build: Callable) -> Callable:
    """Return the function as it is: no model is built by its name."""
    return build


def _to_2tuple(value: Any) -> tuple:
    """Height and width, from a pair or from one number for both."""
    return tuple(value) if isinstance(value, tuple | list) else (value,) * 2


def _drop_path(x: Tensor, rate: float = 0.0, training: bool = False) -> Tensor:
    """Drop a residual branch for some samples, and scale the others."""
    if not rate or not training:
        return x
    shape = (len(x),) + (1,) * (x.ndim - 1)
    kept = torch.rand(shape, dtype=x.dtype, device=x.device) >= rate
    return x * kept / (1 - rate)


_CONTENTS: dict[str, dict[str, Any]] = {
    'torch._six': dict(inf=float('inf')),
    'requests': {},
    'attr': dict(s=_attr_s, ib=_attr_ib),
    'tensorboardX': {},
    # A newer timm may lack some of these modules.
    'timm': {},
    'timm.models': {},
    'timm.models.layers': dict(
        drop_path=_drop_path,
        to_2tuple=_to_2tuple,
        trunc_normal_=nn.init.trunc_normal_,
    ),
    'timm.models.registry': dict(register_model=_register_model),
    'timm.utils': {},
}
