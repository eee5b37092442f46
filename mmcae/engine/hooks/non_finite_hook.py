# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Skips batches whose loss or gradient is not finite, and names them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from torch import Tensor

from mmcae.checkpoint.unwrap import unwrap
from mmcae.registry import HOOKS

from ..bad_batch import (
    FOLDER,
    BadBatch,
    describe,
    keep_batch,
    keep_weights,
    remove_old,
)
from ..forward_state import ForwardState
from ..optimizers import clip
from ..optimizers.optim_wrapper import SafeStep
from ..random_state import RandomMoment


class NonFiniteError(FloatingPointError):
    """Losses or gradients that are not finite, too often."""


class _Reading:
    """Numbers on their way from the device to the host.

    Args:
        numbers: A vector.
    """

    def __init__(self, numbers: Tensor) -> None:
        self._event = None
        if numbers.is_cuda:
            host = torch.empty(numbers.shape, pin_memory=True)
            host.copy_(numbers, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
            numbers = host
        self._numbers = numbers

    def get(self) -> list[float]:
        """Return them; wait for nothing that was started later."""
        if self._event is not None:
            self._event.synchronize()
        return self._numbers.tolist()


class _Read:
    """Numbers that are on the host."""

    def __init__(self, numbers: list[float]) -> None:
        self._numbers = numbers

    def get(self) -> list[float]:
        """Return them."""
        return self._numbers


@dataclass
class _Iteration:
    """An iteration whose numbers are not known yet.

    Attributes:
        bad: Describes it, in case it is bad.
        reading: Loss, norm and scale.
        stepped: Whether a step ended it. If not, gradients are accumulated.
        scaled: Whether there is a loss scaler.
    """

    bad: BadBatch
    reading: _Read | _Reading
    stepped: bool
    scaled: bool


class _BeforeForward(Hook):
    """Remembers the random state, after all other hooks have drawn."""

    priority = 'LOWEST'

    def __init__(self, hook: 'NonFiniteHook') -> None:
        self._hook = hook

    def before_train_iter(
        self, runner: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._hook.take()


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Watches the loss and the gradients of every iteration.

    A batch whose loss or gradient is not finite is bad. With the optimizer
    wrappers of this package, its step changes neither the weights nor the
    optimizer, and what its forward pass changed (moving averages) is undone.
    Schedulers and the count of iterations go on. A warning names the batch's
    files. The batch, the weights and the random state are kept in
    ``WORK_DIR/non_finite/iter_N``, for ``tools/analysis_tools/replay.py``.

    With accumulated gradients, the step of the whole group is skipped.

    With a loss scaler (float16), a gradient that is not finite is normal and
    lowers the scale. The batch is bad only if its loss is not finite, or if
    the scale has fallen below 1.

    On a GPU, an iteration is judged before the step of the next one, so the
    host does not wait. The weights are the same until then.

    With another optimizer wrapper, no step can be skipped. The first loss
    that is not finite then ends the run.

    Args:
        max_in_a_row: How many skipped steps in a row end the run.
        max_kept: How many bad batches are kept; the newest ones are. 0 keeps
            none.

    Raises:
        NonFiniteError: After too many skipped steps in a row.
    """

    # Undoes a forward pass before other hooks see the model.
    priority = 'VERY_HIGH'

    def __init__(self, max_in_a_row: int = 3, max_kept: int = 3) -> None:
        self.max_in_a_row = max_in_a_row
        self.max_kept = max_kept
        #: Iterations of the last skipped steps that follow each other.
        self.in_a_row: list[int] = []
        self._pending: _Iteration | None = None
        #: The first bad batch of the accumulated ones, on this process.
        self._suspect: BadBatch | None = None
        self._before_forward: Hook | None = None

    def before_train(self, runner: Any) -> None:
        """Find out what the optimizer wrapper can do."""
        self._runner = runner
        self._model = unwrap(runner.model)
        self._wrapper = runner.optim_wrapper
        parameter = next(self._model.parameters())
        self._asynchronous = not clip.is_free_to_read(parameter)
        self._state = ForwardState(self._model)
        self._random_state: RandomMoment | None = None
        self._numbers: dict[str, float] = {}
        #: Whether the gradients accumulated so far are finite.
        self._clean: Tensor | bool | None = None
        self._exact_norm = False
        self._safe = isinstance(self._wrapper, SafeStep)
        if self._safe:
            self._wrapper.before_step = self._settle
            norm = clip.gradient_norm(self._wrapper.optimizer)
            if norm is not None:  # resumed in the middle of an accumulation
                finite = norm.isfinite()
                self._clean = finite if self._asynchronous else bool(finite)
            self._exact_norm = (
                self._wrapper._accumulative_counts == 1
                and get_world_size() == 1
            )
        else:
            kind = type(self._wrapper).__name__
            runner.logger.warning(
                f"optim_wrapper.type='{kind}' cannot skip a bad batch: the "
                'first loss that is not finite will end the run. Use '
                "'mmcae.OptimWrapper' or 'mmcae.AmpOptimWrapper'."
            )
        if self._before_forward is None:
            self._before_forward = _BeforeForward(self)
            runner.register_hook(self._before_forward)

    def take(self) -> None:
        """Remember what is needed to undo and to repeat the next pass."""
        self._state.take()
        self._random_state = RandomMoment()
        self._numbers = self._state.numbers()
        if self._safe:
            self._wrapper.norm = None

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Undo a bad forward pass; judge the iteration.

        Raises:
            NonFiniteError: If the run has to end.
        """
        self._settle()
        terms = {} if outputs is None else outputs
        loss = terms.get('loss')
        if not isinstance(loss, Tensor) or self._random_state is None:
            return
        stepped = True
        norm = scale = None
        if self._safe:
            norm, scale = self._wrapper.norm, self._wrapper.current_scale()
            stepped = self._wrapper.should_update()
            if not stepped:
                norm = clip.gradient_norm(self._wrapper.optimizer)
        if stepped and self._is_good(loss, norm):
            return
        bad = BadBatch(
            iteration=runner.iter + 1,
            batch=data_batch,
            terms=terms,
            random_state=self._random_state,
            numbers=self._numbers,
            exact_norm=self._exact_norm and stepped and scale is None,
        )
        judge = self._on_device if self._asynchronous else self._on_host
        reading = judge(bad, loss.detach(), norm, scale)
        self._pending = _Iteration(bad, reading, stepped, scale is not None)
        if stepped:
            self._clean = None
        if not self._asynchronous:
            self._settle()

    def _is_good(self, loss: Tensor, norm: Tensor | None) -> bool:
        """Judge most iterations on the host, without describing them."""
        if self._asynchronous or not self._safe or self._suspect is not None:
            return False
        if not math.isfinite(loss.item()):
            return False
        if norm is not None and not math.isfinite(norm.item()):
            return False
        self._clean = None
        self.in_a_row.clear()
        return True

    def _on_host(
        self,
        bad: BadBatch,
        loss: Tensor,
        norm: Tensor | None,
        scale: Tensor | None,
    ) -> _Read:
        """Undo a bad forward pass; read the numbers, which costs nothing."""
        numbers = [
            1.0 if value is None else float(value)
            for value in (loss, norm, scale)
        ]
        finite = math.isfinite(numbers[1])
        spoiled = not finite and scale is None and self._clean is not False
        if spoiled or not math.isfinite(numbers[0]):
            bad.moving = self._state.values()
            self._state.restore()
        self._clean = finite
        return _Read(numbers)

    def _on_device(
        self,
        bad: BadBatch,
        loss: Tensor,
        norm: Tensor | None,
        scale: Tensor | None,
    ) -> _Reading:
        """Undo a bad forward pass on the device; send the numbers."""
        loss = loss.float()
        one = torch.ones_like(loss)
        norm = one if norm is None else norm.detach().to(loss)
        finite = norm.isfinite()
        broken = ~loss.isfinite()
        if scale is None:
            spoiled = ~finite
            if self._clean is not None:
                spoiled = spoiled & self._clean
            broken = broken | spoiled
        self._state.restore(broken)
        self._clean = finite
        scale = one if scale is None else scale.to(loss)
        return _Reading(torch.stack([loss, norm, scale]))

    def after_train(self, runner: Any) -> None:
        """Judge the last iteration."""
        self._settle()

    def _settle(self) -> None:
        """Judge the iteration before, if that was not done yet."""
        iteration, self._pending = self._pending, None
        if iteration is None:
            return
        bad = iteration.bad
        bad.loss, bad.norm, scale = iteration.reading.get()
        overflow = not math.isfinite(bad.norm)
        broken = not math.isfinite(bad.loss) or (
            overflow and (not iteration.scaled or scale < 1)
        )
        if broken and self._suspect is None:
            if self._asynchronous and self.max_kept:
                bad.moving = self._state.values()
            self._suspect = bad
        if not iteration.stepped:
            return
        if not self._safe:
            self._end_unless_finite(bad)
            return
        suspect, self._suspect = self._suspect, None
        if not overflow:
            self.in_a_row.clear()
            return
        self._handle(bad.iteration, suspect)

    def _handle(self, iteration: int, suspect: BadBatch | None) -> None:
        """Report a skipped step. All processes come here, or none.

        Args:
            iteration: The iteration whose step was skipped.
            suspect: The bad batch of this process, if it has one.
        """
        mine = None if suspect is None else suspect.summary()
        found = {
            rank: one
            for rank, one in enumerate(all_gather_object(mine))
            if one is not None
        }
        if not found:
            return  # the loss scaler lowers its scale
        # The gradients are shared in the end, so one process spoils all. The
        # cause is where a loss is not finite, or where gradients were not
        # finite before they were shared.
        causes = {
            rank: one
            for rank, one in found.items()
            if not math.isfinite(one['loss']) or one['iteration'] < iteration
        }
        found = causes or found
        if get_rank() not in found:
            suspect = None
        self.in_a_row.append(iteration)
        folder = self._keep(iteration, suspect, found)
        several = get_world_size() > 1
        text = '. '.join(
            describe(one, rank if several else None)
            for rank, one in found.items()
        )
        text = f'Iteration {self._number(iteration, found)}: {text}. '
        if self._wrapper._accumulative_counts > 1:
            text += (
                'The step of all accumulated gradients is skipped; weights '
                'and optimizer are unchanged. '
            )
        else:
            text += (
                'The batch is skipped; weights and optimizer are unchanged. '
            )
        if folder is not None:
            text += f'Repeat it with tools/analysis_tools/replay.py {folder}'
        self._runner.logger.warning(text)
        if len(self.in_a_row) >= self.max_in_a_row:
            raise NonFiniteError(self._last_words(folder))

    @staticmethod
    def _number(iteration: int, found: dict[int, dict]) -> str:
        numbers = sorted({one['iteration'] for one in found.values()})
        text = ', '.join(map(str, numbers))
        return text if numbers == [iteration] else f'{text} of {iteration}'

    def _last_words(self, folder: Path | None) -> str:
        numbers = ', '.join(map(str, self.in_a_row))
        kept = (
            '' if folder is None else f' The batches are in {folder.parent}.'
        )
        return (
            f'{len(self.in_a_row)} steps in a row (iterations {numbers}) had '
            'a loss or a gradient that is not finite, so the run ends. None '
            'of them changed the weights. Lower the learning rate, or train '
            "in bfloat16 (optim_wrapper.dtype='bfloat16'), and continue with "
            f'--resume.{kept}'
        )

    def _end_unless_finite(self, bad: BadBatch) -> None:
        self._suspect = None
        if math.isfinite(bad.loss):
            return
        kind = type(self._wrapper).__name__
        raise NonFiniteError(
            f'Iteration {bad.iteration}: {describe(bad.summary())}. '
            f"optim_wrapper.type='{kind}' cannot skip a batch, so its step "
            'may have broken the weights. Resume from the last checkpoint '
            "with 'mmcae.OptimWrapper' or 'mmcae.AmpOptimWrapper'."
        )

    def _keep(
        self, iteration: int, suspect: BadBatch | None, found: dict[int, dict]
    ) -> Path | None:
        """Write what a replay needs; a full disk costs a warning."""
        if not self.max_kept:
            return None
        parent = Path(self._runner.work_dir) / FOLDER
        folder = parent / f'iter_{iteration}'
        try:
            if suspect is not None:
                keep_batch(folder, get_rank(), suspect, self._model)
            if get_rank() == 0:
                config = self._runner.cfg.pretty_text
                keep_weights(folder, self._model, config, found)
                remove_old(parent, self.max_kept)
        except OSError as error:
            self._runner.logger.warning(
                f'The batch of iteration {iteration} is not kept: {error}'
            )
            return None
        return folder
