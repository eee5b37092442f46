# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decide how to pretrain on a folder: pure functions, no file, no device.

`choose` decides everything but the length, which `length.py` decides when the
time of a step is known. docs/cli.md has the same rules as a table.
"""

from dataclasses import replace

from mmcae.cli.planning.adaptation import ADAPTATION
from mmcae.cli.planning.folder import MOST_ODD, Folder
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.notes import plan_notes
from mmcae.cli.planning.plan import Plan, PlanError, Request, Stage, Target
from mmcae.cli.planning.sizes import GB, SIZES, Size
from mmcae.cli.planning.start import StartPlan, started_size, template_of

#: Below this count a training learns next to nothing, and fills no batch.
FEWEST_IMAGES = 8
_TOKENIZER_BATCH = {'tiny': (32, 5e-3), 'small': (64, 1e-3)}
_CACHE_LIMIT = 2 << 30


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
    batch = min(power_below(room / per_image), spec.batch, total)
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
        few = min(ordinary, power_below(folder.images / 2))
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
    return replace(plan, notes=tuple(plan_notes(folder, machine, plan)))


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
    return min(spec.vocab_size, max(64, power_below(2 * folder.images)))


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
        return min(32, power_below(images / 2))
    return max(
        min(64, power_below(images / 2)),
        min(2048, power_below(images / 20)),
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


def power_below(number: float) -> int:
    """The largest power of two that is not above a number, at least 1."""
    return 1 << max(0, int(number).bit_length() - 1)
