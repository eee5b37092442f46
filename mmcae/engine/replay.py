# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Repeat an iteration whose loss or gradient was not finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mmcae.checkpoint.reading import read_checkpoint
from mmcae.engine.bad_batch import CONFIG, WEIGHTS, files_of
from mmcae.engine.forward_state import set_numbers, set_values
from mmcae.engine.optimizers.clip import gradient_norm
from mmcae.engine.plain_batch import from_plain
from mmcae.engine.random_state import check_random_state, set_random_state


@dataclass
class Replay:
    """A repeated iteration.

    Attributes:
        iteration: Its number in the run.
        files: The image files of the batch.
        recorded: Losses and metrics of the run.
        replayed: Those of the repetition.
        norms: The norm of the gradients in the run, which is None if it was
            not that of this batch alone, and that of the repetition.
        module: The first module whose output is not finite, in the order in
            which modules finish; None if all are finite.
        fed: Whether the inputs of this module were finite.
        parameters: Names of the parameters whose gradient is not finite.
    """

    iteration: int
    files: list[str]
    recorded: dict[str, Any]
    replayed: dict[str, Any]
    norms: tuple[float | None, float | None]
    module: str | None
    fed: bool
    parameters: list[str]

    @property
    def is_equal(self) -> bool:
        """Whether all losses and metrics are equal bit by bit."""
        return self.recorded.keys() == self.replayed.keys() and all(
            same_bits(value, self.replayed[key])
            for key, value in self.recorded.items()
        )


def same_bits(one: Any, two: Any) -> bool:
    """Compare two numbers bit by bit: NaN equals NaN."""
    one, two = torch.as_tensor(one).cpu(), torch.as_tensor(two).cpu()
    if one.dtype != two.dtype or one.shape != two.shape:
        return False
    as_bytes = [x.contiguous().flatten().view(torch.uint8) for x in (one, two)]
    return torch.equal(*as_bytes)


def replay(
    folder: Path,
    rank: int = 0,
    device: str | None = None,
    anomaly: bool = False,
    model: nn.Module | None = None,
) -> Replay:
    """Repeat the forward and backward pass of a kept batch.

    The batch and the weights are read as data. The config is Python code,
    like every config: look at it before you replay the folder of somebody
    else.

    Args:
        folder: ``WORK_DIR/non_finite/iter_N``.
        rank: The process whose batch is repeated.
        device: Defaults to that of the run. Another one has other rounding
            and other random numbers.
        anomaly: Whether PyTorch names the operation of the forward pass whose
            gradient is NaN; it raises a ``RuntimeError``.
        model: The model, if the run's was not built from its config.

    Returns:
        What happened.
    """
    kept = read_checkpoint(folder / f'batch_rank_{rank}.pth')
    cfg = Config.fromfile(folder / CONFIG)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    device = device or kept['device']
    if model is None:
        if cfg.get('data_preprocessor') is not None:  # as the Runner does it
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(cfg.model)
    if device == 'cpu':
        model = revert_sync_batchnorm(model)
    model.to(device).train()
    set_values(model, read_checkpoint(folder / WEIGHTS))
    set_values(model, kept['moving'])
    set_numbers(model, kept['numbers'])
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    seen = _Outputs(model)
    with _settings(kept), torch.autograd.set_detect_anomaly(anomaly):
        batch = from_plain(kept['batch'])
        set_random_state(check_random_state(kept['random_state']))
        with seen:
            terms = _train_step(model, batch, wrapper)
    norm = gradient_norm(wrapper.optimizer)
    return Replay(
        iteration=kept['iteration'],
        files=[*map(str, files_of(batch))],
        recorded=kept['terms'],
        replayed=terms,
        norms=(kept['norm'], None if norm is None else float(norm)),
        module=seen.module,
        fed=seen.fed,
        parameters=[
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
            and not parameter.grad.isfinite().all()
        ],
    )


def _train_step(model: Any, batch: Any, wrapper: Any) -> dict[str, Any]:
    """Do an iteration up to the step, which would drop the gradients."""
    wrapper.step = lambda **kwargs: None
    wrapper.zero_grad = lambda **kwargs: None
    terms = model.train_step(batch, wrapper)
    return {
        key: value.detach() if isinstance(value, Tensor) else value
        for key, value in terms.items()
    }


class _Outputs:
    """Finds the first module whose output is not finite.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[Any] = []
        self.module: str | None = None
        self.fed = True

    def __enter__(self) -> '_Outputs':
        for name, module in self._model.named_modules():
            if module is self._model:
                continue

            def look(
                module: nn.Module,
                args: Any,
                kwargs: Any,
                output: Any,
                name: str = name,
            ) -> None:
                if self.module is None and not _all_finite(output):
                    self.module = f'{name} ({type(module).__name__})'
                    self.fed = _all_finite((args, kwargs))

            self._handles.append(
                module.register_forward_hook(look, with_kwargs=True)
            )
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()


def _all_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            return True
        return bool(value.detach().isfinite().all())
    if isinstance(value, dict):
        return all(map(_all_finite, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_all_finite, value))
    return True


@contextmanager
def _settings(kept: dict) -> Iterator[None]:
    """Use the settings of the run that change the rounding."""
    cudnn = torch.backends.cudnn
    former = (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        (cudnn.benchmark, cudnn.deterministic),
    )
    _set(kept['threads'], kept['matmul_precision'], kept['cudnn'])
    try:
        yield
    finally:
        _set(*former)


def _set(threads: int, precision: str, cudnn: Any) -> None:
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark = bool(cudnn[0])
    torch.backends.cudnn.deterministic = bool(cudnn[1])
