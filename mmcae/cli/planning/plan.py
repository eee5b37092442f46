# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decide how to pretrain on a folder: pure functions, no file, no device.

`choose` decides everything but the length, `set_length` decides the length
when the time of a step is known. docs/cli.md has the same rules as a table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from mmcae.cli.planning.adaptation import ADAPTATION
from mmcae.cli.planning.folder import MOST_ODD, Folder
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.sizes import GB, SIZES, Size
from mmcae.cli.planning.start import (
    EXAMPLE,
    StartPlan,
    started_size,
    template_of,
)
from mmcae.utils.durations import duration_text

Target = Literal['dvae', 'dalle']
#: Below this count a training learns next to nothing, and fills no batch.
FEWEST_IMAGES = 8
_TOKENIZER_BATCH = {'tiny': (32, 5e-3), 'small': (64, 1e-3)}
_CACHE_LIMIT = 2 << 30
#: Share of the epochs over which the learning rate rises.
_WARMUP = 0.05


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


def choose(folder: Folder, machine: Machine, request: Request) -> Plan:
    """Decide everything but the length.

    Args:
        folder: What is known about the images.
        machine: What the run can use.
        request: What the user asked for.

    Raises:
        PlanError: If the folder or the machine allows no training.
    """
    _check_images(folder)
    _check_target(folder, request.target)
    start = request.start
    if start is None:
        size = request.size or choose_size(folder, machine)
        sides = choose_resolution(folder, size, request.seconds)
    elif request.size is None:
        size, sides = template_of(start), (start.image_size, start.patch_size)
    else:
        raise PlanError(
            f'--size {request.size} and --start: the size is that of the '
            'file; leave --size out'
        )
    spec = size_of(size, start)
    image_size, patch_size = sides
    tokens = (image_size // patch_size) ** 2
    memory = machine.gpus[0].free if machine.gpus else machine.memory
    # Without a GPU, float32 and the libraries take about twice the memory.
    per_image = spec.image_memory * tokens / 196
    if size == 'tiny':
        per_image = spec.image_memory * tokens / 36
    elif not machine.gpus:
        per_image *= 2
    room = 0.8 * memory - spec.fixed_memory
    if room < 2 * per_image:
        raise PlanError(
            f"size '{size}' needs about "
            f'{(spec.fixed_memory + 2 * per_image) / 0.8 / GB:.1f} GB of '
            f'memory, and {memory / GB:.1f} GB are free: choose a smaller '
            '--size'
        )
    total = total_batch(folder.images, size)
    batch = min(_power_below(room / per_image), spec.batch, total)
    cae = Stage(
        batch,
        total // batch,
        spec.reference_lr
        * total
        / spec.reference_batch
        * (ADAPTATION.peak_factor if start else 1.0),
        folder.images // batch,
    )
    tokenizer = None
    reused = start is not None and start.tokenizer is not None
    if request.target == 'dvae' and not reused:
        ordinary, lr = _TOKENIZER_BATCH['tiny' if size == 'tiny' else 'small']
        few = min(ordinary, _power_below(folder.images / 2))
        tokenizer = Stage(few, 1, lr * few / ordinary, folder.images // few)
    gpu = machine.gpus[0] if machine.gpus else None
    if size == 'tiny':
        precision = 'float32'
    else:
        precision = 'bfloat16' if gpu is None or gpu.bfloat16 else 'float16'
    crop_scale = choose_crop(folder, image_size)
    # The smallest crop keeps a quarter more pixels than the encoder gets.
    side = 8 * round(1.25 * image_size / crop_scale[0] ** 0.5 / 8)
    reduced = min(1.0, side / folder.short_side) ** 2 * folder.decoded_bytes
    cache = reduced < min(_CACHE_LIMIT, 0.25 * machine.memory)
    plan = Plan(
        size=size,
        target=request.target,
        image_size=image_size,
        patch_size=patch_size,
        vocab_size=start.vocab_size
        if start is not None and start.tokenizer is not None
        else choose_vocabulary(folder, request.target, spec),
        crop_scale=crop_scale,
        workers=choose_workers(machine, size, cache),
        cache=cache,
        cache_side=side,
        loading=cache * folder.images * folder.load_seconds,
        max_unreadable=max(0.01, round(2 * folder.unreadable, 3)),
        precision=precision,
        tokenizer=tokenizer,
        cae=cae,
        memory=round(spec.fixed_memory + batch * per_image),
        # While one checkpoint is written, the one before is still there.
        disk=2 * spec.checkpoint + 50_000_000,
        start=start,
    )
    if plan.disk > machine.disk:
        raise PlanError(
            f'the checkpoints need about {plan.disk / GB:.1f} GB, and the '
            f'disk has {machine.disk / GB:.1f} GB free: choose another --out '
            'or a smaller --size'
        )
    return replace(plan, notes=tuple(_notes(folder, machine, plan)))


def size_of(name: str, start: StartPlan | None) -> Size:
    """A key of `SIZES`, with the numbers of the file that it starts from."""
    return SIZES[name] if start is None else started_size(SIZES[name], start)


def choose_size(folder: Folder, machine: Machine) -> str:
    """The size for a GPU's memory and a number of images."""
    if not machine.gpus:
        return 'tiny'
    free = machine.gpus[0].free
    if free >= 20 * GB and folder.images >= 100_000:
        return 'base'
    if free >= 6 * GB and folder.images >= 1_000:
        return 'small'
    return 'tiny'


def choose_resolution(
    folder: Folder, size: str, seconds: float | None
) -> tuple[int, int]:
    """Side of the images and of a patch.

    Small images are not blown up to many times their size. If there is half
    an hour or more, tiny models get 64 px instead of 48.
    """
    side = SIZES[size].image_size
    if size == 'tiny':
        if seconds is not None and seconds >= 1800:
            side = 64
        if folder.short_side < 40:
            side = 32
        return side, 8
    # The short side that is three quarters of 224 px or more needs no smaller
    # grid; below that, patches of 8 px keep the number of patches.
    if folder.short_side >= 168:
        return side, 16
    if folder.short_side >= 84:
        return 112, 8
    return 64, 8


def choose_crop(folder: Folder, image_size: int) -> tuple[float, float]:
    """Area of a crop: small images have little to crop."""
    if folder.short_side < 1.5 * image_size:
        return 0.5, 1.0
    return 0.2, 1.0


def choose_vocabulary(folder: Folder, target: Target, spec: Size) -> int:
    """Number of codes: few images cannot fill many."""
    if target == 'dalle':
        return 8192
    return min(spec.vocab_size, max(64, _power_below(2 * folder.images)))


def choose_workers(machine: Machine, size: str, cache: bool) -> int:
    """Processes that load images.

    A tiny model with its images in memory is faster without any. Otherwise
    one core is left for the training, and the shared memory must hold two
    batches for each worker.
    """
    if machine.cores == 1 or (size == 'tiny' and cache):
        return 0
    workers = min(8, machine.cores - 1)
    if machine.shared_memory is not None:
        # 256 images of 224 px with their second view
        largest = 256 * (224**2 + 112**2) * 3
        workers = min(workers, machine.shared_memory // (2 * largest))
    return workers


def total_batch(images: int, size: str) -> int:
    """Images of a step of the optimizer: 20 steps an epoch, within limits.

    Tiny models learn from many small steps.
    """
    if size == 'tiny':
        return min(32, _power_below(images / 2))
    return max(
        min(64, _power_below(images / 2)),
        min(2048, _power_below(images / 20)),
    )


def smaller_batch(plan: Plan) -> Plan:
    """Halve CAE's batch and accumulate twice as many.

    Raises:
        PlanError: If the batch is one image.
    """
    stage = plan.cae
    if stage.batch_size == 1:
        raise PlanError(
            f"size '{plan.size}' does not fit into this GPU's memory, not "
            'even with one image: choose a smaller --size'
        )
    half = replace(
        stage,
        batch_size=stage.batch_size // 2,
        accumulation=2 * stage.accumulation,
        batches=2 * stage.batches,
    )
    return replace(plan, cae=half)


def set_length(plan: Plan, request: Request) -> Plan:
    """Decide the length, with the measured time of a batch.

    Args:
        plan: With the ``seconds`` of each stage.
        request: With the time for everything.

    Raises:
        PlanError: If the time is not enough for an epoch.
    """
    spec = size_of(plan.size, plan.start)
    notes = list(plan.notes)
    usual, usual_tokenizer = spec.steps
    if plan.start is not None:
        usual = round(ADAPTATION.epochs_share * usual)
    budget = request.seconds
    if budget is not None:
        # The rest is for the start, for checkpoints, and for a machine that
        # becomes slower.
        budget *= 0.9
        budget -= plan.loading * (2 if plan.tokenizer else 1)
    share = 0.25 if plan.tokenizer else 0.0
    tokenizer = plan.tokenizer
    if tokenizer is not None:
        epochs = _usual_epochs(tokenizer, usual_tokenizer, spec.max_epochs)
        if budget is not None:
            # More than twice its usual length gains a tokenizer little.
            most = _affordable('tokenizer', tokenizer, share * budget)
            epochs = min(most, 2 * epochs, spec.max_epochs)
        tokenizer = _with_epochs(tokenizer, epochs)
    cae = plan.cae
    epochs = _usual_epochs(cae, usual, spec.max_epochs)
    if budget is not None:
        most = _affordable('CAE', cae, (1 - share) * budget)
        epochs = min(most, spec.max_epochs)
    share = _WARMUP if plan.start is None else ADAPTATION.warmup_share
    cae = _with_epochs(cae, epochs, share)
    steps = cae.total_batches // cae.accumulation
    if steps < 0.5 * usual:
        notes.append(
            f'{steps:,} steps are few ({usual:,} are usual for this size): '
            'the first hundreds only learn where the frequent codes are; '
            'give more --time'
        )
    plan = replace(plan, tokenizer=tokenizer, cae=cae)
    if request.seconds is not None and plan.duration < 0.5 * request.seconds:
        notes.append(
            f'the plan stops at {cae.epochs:,} epochs and leaves time over: a '
            'larger --size can use it'
        )
    if request.seconds is None and plan.duration > 86_400:
        notes.append(
            f'this takes {duration_text(plan.duration)}: give a --time, or a '
            'smaller --size'
        )
    return replace(plan, notes=tuple(notes))


def _usual_epochs(stage: Stage, steps: int, most: int) -> int:
    """Epochs that make a number of steps, from 10 to the most."""
    epochs = -(-steps * stage.accumulation // stage.batches)
    return min(max(epochs, 10), most)


def _affordable(name: str, stage: Stage, seconds: float) -> int:
    """Epochs that a time is enough for; PlanError if it is one or none.

    The warm-up and the rest of the schedule need an epoch each.
    """
    epoch = stage.batches * (stage.seconds or 1e-6)
    if seconds < 2 * epoch:
        raise PlanError(
            f'two epochs of the {name} take {duration_text(2 * epoch)}, and '
            f'of --time it gets {duration_text(max(0.0, seconds))}: give more '
            'time, a smaller --size, or fewer images'
        )
    return int(seconds / epoch)


def _with_epochs(stage: Stage, epochs: int, share: float = _WARMUP) -> Stage:
    warmup = max(1, round(share * epochs))
    return replace(stage, epochs=epochs, warmup_epochs=warmup)


def _check_target(folder: Folder, target: str) -> None:
    if target == 'dalle' and folder.channels != 3:
        raise PlanError(
            f"DALL-E's tokenizer reads color, and the images have "
            f'{folder.channels} channel{"s" if folder.channels > 1 else ""}: '
            'leave out --target, and a tokenizer is trained on them'
        )


def _check_images(folder: Folder) -> None:
    if folder.images < FEWEST_IMAGES:
        raise PlanError(
            f'{folder.images} images in {folder.name}: at least '
            f'{FEWEST_IMAGES} are needed, and some hundreds to learn anything'
        )
    if folder.unreadable > MOST_ODD:
        raise PlanError(
            f'{folder.unreadable:.0%} of {folder.sampled} images looked at '
            f'cannot be read, the first is {folder.first_unreadable}; '
            'tools/dataset_converters/check_images.py lists them'
        )


def _notes(folder: Folder, machine: Machine, plan: Plan) -> Iterator[str]:
    images = folder.images
    if images < 1_000:
        note = f'{images} images are few: '
        if images < 100:
            note += 'the encoder will know little beyond them'
        else:
            note += 'expect features for these images, not for others'
        if plan.start is None:
            note += f'; continue from weights, such as --start {EXAMPLE}'
        yield note
    elif plan.size != 'tiny' and images < 10_000:
        yield f'{images:,} images are few for a model of this size'
    if folder.duplicates > 0.05 * images:
        yield (
            f'{folder.duplicates:,} files are copies of others: remove them '
            '(tools/dataset_converters/check_images.py names them)'
        )
    if folder.unreadable:
        yield (
            f'{folder.unreadable:.1%} of the images looked at cannot be read '
            f'and are left out, such as {folder.first_unreadable}'
        )
    strange = [(n, kind) for kind, n in folder.others if n > 0.1 * images]
    if strange:
        listed = ', '.join(f'{n:,} {kind}' for n, kind in strange[:3])
        yield f'files that are no images are left out: {listed}'
    splits = {'train', 'test', 'val', 'valid', 'validation', 'training'}
    found = sorted(splits & {name.lower() for name, _ in folder.subfolders})
    if len(found) > 1:
        yield (
            f'the subfolders {" and ".join(found)} are all trained on: give '
            'one of them if images are kept for a test'
        )
    if folder.alpha > 0.05:
        yield f'transparency is dropped ({folder.alpha:.0%} of the images)'
    if folder.deep > 0.05:
        yield f'more than 8 bits become 8 bits ({folder.deep:.0%} of images)'
    if folder.short_side < 0.75 * plan.image_size:
        yield (
            f'the images are smaller ({folder.short_side} px) than the '
            f"encoder's {plan.image_size} px, and are enlarged"
        )
    if folder.megapixels > 8 and not plan.cache:
        yield (
            f'the images are large ({folder.megapixels:.0f} megapixels): '
            'loading them takes much of the time; copies with a short side of '
            f'{4 * plan.image_size} px would do'
        )
    if len(machine.gpus) > 1:
        yield (
            f'one of {len(machine.gpus)} GPUs is used; for all of them, write '
            'the configs with --config-out and start them with '
            'tools/dist_train.sh'
        )
    if not machine.gpus and plan.size != 'tiny':
        yield f"size '{plan.size}' is meant for a GPU, and there is none"
    if plan.target == 'dalle':
        yield "DALL-E's tokenizer is downloaded, or read from the cache"


def _power_below(number: float) -> int:
    """The largest power of two that is not above a number, at least 1."""
    return 1 << max(0, int(number).bit_length() - 1)
