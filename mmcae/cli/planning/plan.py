# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The plan of a pretraining: what was asked for, and what was decided."""

from dataclasses import dataclass
from typing import Literal

from mmcae.cli.planning.start import StartPlan

Target = Literal['dvae', 'dalle']


class PlanError(ValueError):
    """No plan is possible; the message says why and what to change."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        size: A key of `SIZES`; None chooses.
        seconds: For the whole command; None takes the steps of the size.
        target: Where the tokens come from: ``'dvae'`` trains a tokenizer on
            the folder first, ``'dalle'`` needs OpenAI's weights.
        start: What the encoder starts from; None for random weights.
    """

    size: str | None = None
    seconds: float | None = None
    target: Target = 'dvae'
    start: StartPlan | None = None


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        batch_size: Images of a step, before accumulation.
        accumulation: Batches before the optimizer moves.
        lr: The peak of the learning rate.
        batches: Batches of an epoch.
        epochs: Length; 0 until `set_length`.
        warmup_epochs: Over which the learning rate rises.
        seconds: For one batch, measured; None until then.
    """

    batch_size: int
    accumulation: int
    lr: float
    batches: int
    epochs: int = 0
    warmup_epochs: int = 0
    seconds: float | None = None

    @property
    def total_batches(self) -> int:
        """Batches of the whole training."""
        return self.epochs * self.batches

    @property
    def duration(self) -> float:
        """Seconds of the whole training, by the measured batch."""
        return self.total_batches * (self.seconds or 0.0)


@dataclass(frozen=True)
class Plan:
    """How to pretrain.

    Attributes:
        size: A key of `SIZES`.
        target: Where the tokens come from.
        image_size: Side in pixels of the encoder's images.
        patch_size: Side in pixels of a patch.
        vocab_size: Number of codes.
        crop_scale: Area of a crop, as a share of the image.
        workers: Processes that load images.
        cache: Whether decoded images stay in memory.
        cache_side: Short side that large images are reduced to there.
        loading: Seconds at the start of each training to fill the memory.
        max_unreadable: Share of images that may be unreadable.
        precision: ``'float32'``, ``'float16'`` or ``'bfloat16'``.
        tokenizer: Its training; None if the target needs none.
        cae: CAE's training.
        memory: Bytes that a step needs (estimate, or measured).
        disk: Bytes of the files (estimate).
        threads: Threads of PyTorch, measured; 0 leaves them.
        notes: What is weak about the plan, a sentence each.
        start: What the encoder starts from; None for random weights.
    """

    size: str
    target: Target
    image_size: int
    patch_size: int
    vocab_size: int
    crop_scale: tuple[float, float]
    workers: int
    cache: bool
    cache_side: int
    loading: float
    max_unreadable: float
    precision: str
    tokenizer: Stage | None
    cae: Stage
    memory: int
    disk: int
    threads: int = 0
    notes: tuple[str, ...] = ()
    start: StartPlan | None = None

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def duration(self) -> float:
        """Seconds of all trainings, by the measured batches."""
        first = 0.0
        if self.tokenizer is not None:
            first = self.loading + self.tokenizer.duration
        return first + self.loading + self.cae.duration
