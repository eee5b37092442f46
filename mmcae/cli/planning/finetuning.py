# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Decide how to fine-tune an encoder on labeled images.

`choose` decides everything but the length, `set_length` decides the length
when the time of a batch is known. docs/cli.md has the rules as a table.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmcae.checkpoint.encoder_settings import EncoderSettings
from mmcae.cli.planning.choices import choose_workers
from mmcae.cli.planning.configs import encoder_values, filled
from mmcae.cli.planning.folder import Folder, kind_text
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.plan import PlanError, Stage
from mmcae.cli.planning.sizes import SIZES
from mmcae.utils.durations import duration_text

#: Share of the images that is held out if the folder has no ``val``.
VAL_SHARE = 0.2
#: Learning rate for 64 images, usual steps, and layer decay of the configs.
_RATES = {'tiny': (2e-3, 1_000, 0.75), 'small': (1.25e-4, 5_000, 0.65)}
_BATCH, _FEWEST_EPOCHS, _MOST_EPOCHS = 64, 30, 300
_SPLITS = ('val', 'valid', 'validation', 'test')


@dataclass(frozen=True)
class LabeledImages:
    """The images of a folder with a subfolder for each class.

    Attributes:
        root: The folder.
        classes: Names of the classes, sorted.
        train: Path below the folder and index of the class of each image.
        val: The same of the images that are held out.
        was_split: Whether the held-out images were drawn at random.
        unreadable: Files that are left out.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]
    was_split: bool
    unreadable: tuple[str, ...] = ()


def find_labeled(
    root: Path,
    seed: int = 0,
    channels: int = 3,
    value_range: Any = None,
) -> LabeledImages:
    """Find the images of each class, and hold some out.

    Args:
        root: Has train/CLASS and val/CLASS, or CLASS. In the second case a
            fifth of each class is drawn at random.
        seed: Of the draw.
        channels: Of the images that the encoder reads.
        value_range: As of `mmcae.LoadImage`.

    Raises:
        FileNotFoundError: If there is no folder.
        PlanError: If the images have no two classes, or a class has no image
            in one of the parts.
    """
    if not root.is_dir():
        raise FileNotFoundError(f'there is no folder {root}')
    from mmcae.datasets.transforms import LoadImage

    loader = LoadImage(channels=channels, value_range=value_range)
    second = next((n for n in _SPLITS if (root / n).is_dir()), None)
    unreadable: list[str] = []
    if (root / 'train').is_dir() and second is not None:
        found = _by_class(root, 'train', loader, unreadable)
        held = _by_class(root, second, loader, unreadable)
        if set(found) != set(held):
            odd = sorted(set(found) ^ set(held))
            raise PlanError(
                f'{root}/train and {root}/{second} must have the same '
                f'classes; only one has {", ".join(odd[:5])}'
            )
    else:
        found, held = _by_class(root, '', loader, unreadable), {}
    if len(found) < 2:
        raise PlanError(
            f'{root} has {len(found)} subfolders with images, and a '
            'classifier needs two classes or more: one subfolder for each'
        )
    classes = tuple(sorted(found))
    if not held:
        found, held = _draw(found, seed)
    return LabeledImages(
        root,
        classes,
        _labeled(found, classes),
        _labeled(held, classes),
        second is None,
        tuple(unreadable),
    )


def _by_class(
    root: Path, part: str, loader: Any, unreadable: list[str]
) -> dict[str, list[str]]:
    from mmcae.datasets.folder_dataset import EXTENSIONS, find_images

    found: dict[str, list[str]] = {}
    top = root / part
    for path in find_images(str(top), EXTENSIONS):
        below = Path(path).relative_to(top)
        if len(below.parts) < 2:
            continue  # beside the classes' folders
        name = str(Path(part) / below)
        if _can_be_read(path, loader):
            found.setdefault(below.parts[0], []).append(name)
        else:
            unreadable.append(name)
    return found


def _can_be_read(path: str, loader: Any) -> bool:
    from mmcae.datasets.transforms.load_image import UnreadableImageError

    try:
        loader.load(path)
    except UnreadableImageError:
        return False
    return True


def _draw(
    found: dict[str, list[str]], seed: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Hold out a share of each class."""
    import numpy as np

    rng = np.random.default_rng(seed)
    train, held = {}, {}
    for name, paths in sorted(found.items()):
        if len(paths) < 2:
            raise PlanError(
                f"the class '{name}' has one image: at least two are needed, "
                'one to train and one to test'
            )
        order = [paths[i] for i in rng.permutation(len(paths))]
        count = min(max(1, round(VAL_SHARE * len(paths))), len(paths) - 1)
        held[name], train[name] = sorted(order[:count]), sorted(order[count:])
    return train, held


def _labeled(
    found: dict[str, list[str]], classes: Sequence[str]
) -> tuple[tuple[str, int], ...]:
    return tuple(
        (path, label)
        for label, name in enumerate(classes)
        for path in found[name]
    )


@dataclass(frozen=True)
class Finetuning:
    """How to fine-tune.

    Attributes:
        size: A key of `SIZES`; its config is filled.
        stage: The training.
        workers: Processes that load images.
        flip: Whether half of the images are mirrored.
        layer_decay: Factor of the learning rate from a block to the one
            below.
        memory: Bytes that a step needs, measured.
        threads: Threads of PyTorch, measured; 0 leaves them.
        notes: What is weak about the plan, a sentence each.
    """

    size: str
    stage: Stage
    workers: int
    flip: bool
    layer_decay: float
    memory: int = 0
    threads: int = 0
    notes: tuple[str, ...] = ()


def choose(
    encoder: EncoderSettings,
    images: LabeledImages,
    folder: Folder,
    machine: Machine,
    flip: bool = True,
) -> Finetuning:
    """Decide everything but the length.

    Args:
        encoder: Of the checkpoint.
        images: With their classes.
        folder: What is known about the images.
        machine: What the run can use.
        flip: Whether images may be mirrored.
    """
    size = size_of(encoder)
    rate, _, decay = _RATES['tiny' if size == 'tiny' else 'small']
    batch = _BATCH
    while batch > 2 and batch > len(images.train) / 4:
        batch //= 2
    stage = Stage(batch, 1, rate * batch / 64, -(-len(images.train) // batch))
    return Finetuning(
        size,
        stage,
        choose_workers(machine, size, cache=False),
        flip,
        decay,
        notes=tuple(_notes(encoder, images, folder, machine, size)),
    )


def size_of(encoder: EncoderSettings) -> str:
    """The size whose config suits an encoder."""
    for name, spec in SIZES.items():
        layers = {'tiny': 4, 'large': 24}.get(name, 12)
        if (encoder.width, encoder.num_layers) == (spec.width, layers):
            return name
    return 'tiny'


def check_kind(encoder: EncoderSettings, folder: Folder) -> None:
    """Refuse images of another kind than those of the pretraining.

    Args:
        encoder: Of the checkpoint.
        folder: What is known about the images.

    Raises:
        PlanError: If their channels or their bits differ.
    """
    if folder.channels != encoder.channels or (
        folder.is_plain and encoder.value_range is not None
    ):
        raise PlanError(
            f'the images have {kind_text(folder.channels, folder.depth)}, and '
            f'the encoder was pretrained on {kind_of(encoder)}: pretrain on '
            'such images first, which can start from its weights (mmcae '
            'pretrain --start)'
        )


def kind_of(encoder: EncoderSettings) -> str:
    """Say what images an encoder reads."""
    depth = 'uint8' if encoder.value_range is None else 'more than 8 bits'
    return kind_text(encoder.channels, depth)


def set_length(plan: Finetuning, seconds: float | None) -> Finetuning:
    """Decide the length, with the measured time of a batch.

    Args:
        plan: Its stage has the ``seconds`` of a batch.
        seconds: For the whole command; None takes the usual steps.

    Raises:
        PlanError: If the time is not enough for two epochs.
    """
    stage = plan.stage
    usual = _RATES['tiny' if plan.size == 'tiny' else 'small'][1]
    epochs = min(max(-(-usual // stage.batches), _FEWEST_EPOCHS), _MOST_EPOCHS)
    if seconds is not None:
        epoch = stage.batches * (stage.seconds or 1e-6)
        # A tenth is for the start, the evaluation and the checkpoint.
        epochs = min(int(0.9 * seconds / epoch), _MOST_EPOCHS)
        if epochs < 2:
            raise PlanError(
                f'two epochs take {duration_text(2 * epoch)}, and --time is '
                f'{duration_text(seconds)}: give more time, or fewer images'
            )
    notes = list(plan.notes)
    if epochs * stage.batches < usual / 2:
        notes.append(
            f'{epochs * stage.batches:,} steps are few ({usual:,} are usual '
            'for this size): give more --time'
        )
    warmup = max(1, round(0.1 * epochs))
    stage = replace(stage, epochs=epochs, warmup_epochs=warmup)
    return replace(plan, stage=stage, notes=tuple(notes))


def _notes(
    encoder: EncoderSettings,
    images: LabeledImages,
    folder: Folder,
    machine: Machine,
    size: str,
) -> Iterator[str]:
    counts = Counter(label for _, label in images.train)
    least, number = min(counts.items(), key=lambda item: item[1])
    name = images.classes[least]
    if number < 20:
        yield (
            f"class '{name}' has {number} training images: expect little of it"
        )
    if max(counts.values()) > 10 * number:
        yield (
            f'the largest class has {max(counts.values()):,} training images '
            f"and '{name}' {number:,}: the accuracy speaks of the largest"
        )
    if len(images.val) < 50:
        yield (
            f'{len(images.val)} held-out images are few: one of them is '
            f'{100 / len(images.val):.1f} points of accuracy'
        )
    if images.unreadable:
        yield (
            f'{len(images.unreadable)} images cannot be read and are left '
            f'out, such as {images.unreadable[0]}'
        )
    if folder.duplicates:
        yield (
            f'{folder.duplicates:,} files are copies of others: a copy of a '
            'training image among the held-out ones makes the accuracy too '
            'high'
        )
    if not encoder.is_recorded:
        yield (
            "the checkpoint does not say its normalization; ImageNet's is "
            'taken'
        )
    if folder.short_side < 0.75 * encoder.image_size:
        yield (
            f'the images are smaller ({folder.short_side} px) than the '
            f"encoder's {encoder.image_size} px, and are enlarged"
        )
    if not machine.gpus and size != 'tiny':
        yield f"size '{size}' is meant for a GPU, and there is none"


def write_config(
    plan: Finetuning,
    encoder: EncoderSettings,
    images: LabeledImages,
    checkpoint: str,
    lists: Path,
    out: Path,
) -> str:
    """The text of the config that a plan runs.

    Args:
        plan: With its length.
        encoder: Of the checkpoint.
        images: With their classes.
        checkpoint: Of the encoder.
        lists: The folder of ``train.txt`` and ``val.txt``.
        out: The run's folder.
    """
    stage = plan.stage
    values: dict[str, Any] = encoder_values(
        plan.size,
        checkpoint=checkpoint,
        image_size=encoder.image_size,
        patch_size=encoder.patch_size,
        width=encoder.width,
        num_heads=encoder.num_heads,
        layer_scale=encoder.layer_scale,
        mean=encoder.mean,
        std=encoder.std,
    )
    if plan.size == 'tiny':
        values['num_layers'] = encoder.num_layers
    values |= {
        'data_root': str(images.root.absolute()),
        'num_classes': len(images.classes),
        'classes': images.classes,
        'train_list': str((lists / 'train.txt').absolute()),
        'val_list': str((lists / 'val.txt').absolute()),
        'channels': encoder.channels,
        'value_range': encoder.value_range,
        'flip_prob': 0.5 if plan.flip else 0.0,
        'num_workers': plan.workers,
        'batch_size': stage.batch_size,
        'lr': float(f'{stage.lr:.3g}'),
        'max_epochs': stage.epochs,
        'warmup_epochs': stage.warmup_epochs,
    }
    name = SIZES[plan.size].finetune_config
    return filled(name, values, out / 'finetune', 'finetune')


def write_lists(images: LabeledImages, folder: Path) -> None:
    """Write ``train.txt`` and ``val.txt``: a path and a class a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (('train', images.train), ('val', images.val)):
        lines = [f'{path} {label}\n' for path, label in part]
        (folder / f'{name}.txt').write_text(''.join(lines), 'utf-8')
