# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a forward pass changes in a model, to undo a bad one."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class _Slot:
    """A tensor of a module, and a copy of it.

    Args:
        name: Its name in the model.
        module: The module.
        key: Its name in the module.
        copied: Whether it is copied before it was seen to change.
    """

    def __init__(
        self, name: str, module: nn.Module, key: str, copied: bool
    ) -> None:
        self.name = name
        self.module = module
        self.key = key
        self.copied = copied
        # Where the module keeps it. Its attribute is found only after a
        # search, which would be most of the time of a look.
        self._home = _home_of(module, key)
        # PyTorch does not count what batch normalization writes.
        self._counts = not hasattr(module, 'running_mean')
        self.changed = False
        self.copy: Tensor | None = None
        self._seen: Tensor | None = None
        self._seen_writes = -1

    @property
    def tensor(self) -> Tensor:
        """The module's tensor of now; another one after an assignment."""
        tensor = self._home.get(self.key)
        if tensor is None:  # it is kept elsewhere now
            self._home = _home_of(self.module, self.key)
            tensor = getattr(self.module, self.key)
        return tensor

    def is_same(self) -> bool:
        """Whether nothing was written since `take`."""
        tensor = self.tensor
        return (
            tensor is self._seen
            and self._counts
            and self._seen_writes == _writes(tensor)
        )

    def take(self) -> None:
        """Copy the tensor, unless the copy of before is still right."""
        if self.is_same():
            return
        tensor = self.tensor.detach()
        if self._seen is not None:
            self.changed = self.copied = True
        if self.copied:
            if self.copy is not None and self.copy.shape == tensor.shape:
                self.copy.copy_(tensor)
            else:
                self.copy = tensor.clone()
        self._seen = self.tensor
        self._seen_writes = _writes(self._seen)

    def restore(self, condition: Tensor | None) -> None:
        """Write the copy back; see `ForwardState.restore`."""
        if self.copy is None or self.is_same():
            return
        self.changed = True
        tensor = self.tensor.detach()
        if tensor.shape == self.copy.shape:
            if condition is None:
                tensor.copy_(self.copy)
            else:
                tensor.copy_(torch.where(condition, self.copy, tensor))
        elif condition is None:
            setattr(self.module, self.key, self.copy.clone())


def _writes(tensor: Tensor) -> int:
    """PyTorch's count of writes; inference tensors have none."""
    return -1 if tensor.is_inference() else tensor._version


def _home_of(module: nn.Module, key: str) -> dict[str, Any]:
    """The dict in which a module keeps a tensor."""
    for home in (vars(module), module._parameters, module._buffers):
        if isinstance(home.get(key), Tensor):
            return home
    return {}


class ForwardState:
    """Keeps what a forward pass changes: moving averages and statistics.

    These are buffers, tensors that are attributes of a module, and parameters
    without gradient, such as those of a copied teacher. Of parameters without
    gradient, only those are copied that were seen to change, because most of
    them are frozen weights. PyTorch's counters of writes tell what changed,
    so only that is copied again.

    Args:
        model: The model, without a wrapper.
    """

    def __init__(self, model: nn.Module) -> None:
        self._slots = list(_slots_of(model))
        # With the dict of the module: `getattr` takes twice as long.
        self._numbers = [
            (f'{name}.{key}' if name else key, vars(module), key)
            for name, module in model.named_modules()
            for key, value in vars(module).items()
            if type(value) is float and not key.startswith('_')
        ]

    def take(self) -> None:
        """Copy what the last forward pass changed."""
        with torch.no_grad():
            for slot in self._slots:
                slot.take()

    def restore(self, condition: Tensor | None = None) -> None:
        """Undo what was changed since `take`.

        Args:
            condition: A scalar on the model's device, which is true if it is
                to be undone. Nothing is read from the device. None: it is.
        """
        with torch.no_grad():
            for slot in self._slots:
                slot.restore(condition)

    def numbers(self) -> dict[str, float]:
        """Return the attributes of modules that are floats, by name.

        Hooks change some of them, such as a temperature.
        """
        return {
            name: attributes[key] for name, attributes, key in self._numbers
        }

    def values(self) -> dict[str, Tensor]:
        """Return the copies of what changed so far, on the CPU, by name."""
        return {
            slot.name: slot.copy.cpu().clone()
            for slot in self._slots
            if slot.changed and slot.copy is not None
        }


def _slots_of(model: nn.Module) -> Iterator[_Slot]:
    for prefix, module in model.named_modules():
        start = f'{prefix}.' if prefix else ''
        for key, buffer in module._buffers.items():
            if buffer is not None:
                yield _Slot(start + key, module, key, copied=True)
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                yield _Slot(start + key, module, key, copied=True)
        for key, parameter in module._parameters.items():
            if parameter is not None and not parameter.requires_grad:
                yield _Slot(start + key, module, key, copied=False)


def set_values(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Give a model's tensors other values.

    Args:
        model: The model, without a wrapper.
        values: By name, as of `ForwardState.values`.

    Raises:
        ValueError: If the model has no such tensor.
    """
    with torch.no_grad():
        for name, value in values.items():
            path, _, key = name.rpartition('.')
            try:
                module = model.get_submodule(path)
                tensor = getattr(module, key)
            except AttributeError:
                tensor = None
            if not isinstance(tensor, Tensor):
                raise ValueError(f'the model has no tensor {name!r}')
            if tensor.shape == value.shape:
                tensor.copy_(value)
            elif key in module._parameters or key in module._buffers:
                raise ValueError(
                    f'{name!r} has shape {tuple(value.shape)}, and that of '
                    f'the model {tuple(tensor.shape)}'
                )
            else:
                setattr(module, key, value.to(tensor.device))


def set_numbers(model: nn.Module, numbers: dict[str, float]) -> None:
    """Set what `ForwardState.numbers` returned; others are left out."""
    modules = dict(model.named_modules())
    for name, value in numbers.items():
        path, _, key = name.rpartition('.')
        if type(getattr(modules.get(path), key, None)) is float:
            setattr(modules[path], key, float(value))


def all_values(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer of a model, on the CPU, by name.

    Unlike ``state_dict``, this has the frozen tokenizer and buffers that
    checkpoints leave out.
    """
    named: list[Any] = [*model.named_parameters(), *model.named_buffers()]
    return {name: value.detach().cpu() for name, value in named}
