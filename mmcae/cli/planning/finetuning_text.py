# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A plan of fine-tuning, and what came of it, in words."""

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from mmcae.checkpoint.encoder_settings import EncoderSettings
from mmcae.cli.planning import text
from mmcae.cli.planning.finetuning import Finetuning, LabeledImages, kind_of
from mmcae.cli.planning.machine import Machine
from mmcae.utils.durations import duration_text


def describe(
    encoder: EncoderSettings,
    images: LabeledImages,
    machine: Machine,
    plan: Finetuning,
    seconds: float | None,
    out: Path,
) -> str:
    """Write a plan as lines with a label each.

    Args:
        encoder: Of the checkpoint.
        images: With their classes.
        machine: What the run uses.
        plan: With its length and measured times.
        seconds: That the user asked for, or None.
        out: Where the run writes.
    """
    stage = plan.stage
    how = 'drawn at random from each class' if images.was_split else 'given'
    grid = encoder.image_size // encoder.patch_size
    kind = []
    if encoder.channels != 3 or encoder.value_range is not None:
        kind = [('channels', kind_of(encoder))]
    asked = f' (of {duration_text(seconds)} asked for)' if seconds else ''
    rows = [
        (
            'images',
            f'{len(images.train):,} to train, {len(images.val):,} held out '
            f'({how}), {len(images.classes)} classes',
        ),
        *kind,
        ('machine', text.machine_text(machine)),
        (
            'model',
            f'{encoder.num_layers} blocks of width {encoder.width}, images '
            f'of {encoder.image_size} px, {grid} x {grid} patches'
            + ('' if plan.flip else ', not mirrored'),
        ),
        (
            'training',
            f'{stage.epochs:,} epochs, {stage.total_batches:,} steps of '
            f'{stage.batch_size} images, learning rate {stage.lr:.2g}, times '
            f'{plan.layer_decay} from a block to the one below',
        ),
        (
            'needs',
            f'{duration_text(stage.duration)}{asked}, by a measured batch of '
            f'{1000 * (stage.seconds or 0):,.0f} ms; '
            f'{text.size_text(plan.memory)} of memory',
        ),
        *(('weak', note) for note in plan.notes),
        ('writes', str(out)),
    ]
    return '\n'.join(text.labeled_lines(rows))


def confusion_line(
    matrix: Sequence[Sequence[int]], classes: Sequence[str]
) -> str:
    """The classes that are confused most, in one line.

    Args:
        matrix: Number of images by class (row) and prediction (column).
        classes: Their names.
    """
    pairs = sorted(
        (
            (-count, row, column)
            for row, counts in enumerate(matrix)
            for column, count in enumerate(counts)
            if count and row != column
        ),
    )
    if not pairs:
        return 'none'
    return ', '.join(
        f'{classes[row]} taken for {classes[column]} ({-count} of '
        f'{sum(matrix[row])})'
        for count, row, column in pairs[:4]
    )


def next_steps(
    out: Path,
    checkpoint: Path,
    found: dict[str, Any],
    seconds: float,
    channels: int = 3,
    value_range: Any = None,
) -> str:
    """What was made, how good it is, and what to type next.

    Args:
        out: The run's folder.
        checkpoint: Of the classifier.
        found: ``matrix`` and ``classes`` of the evaluation.
        seconds: That this command took.
        channels: Of the images.
        value_range: As of `mmcae.LoadImage`.
    """
    matrix, classes = found['matrix'], found['classes']
    total = sum(map(sum, matrix))
    right = sum(row[i] for i, row in enumerate(matrix))
    largest = max(map(sum, matrix))
    rows = [
        (
            'accuracy',
            f'{100 * right / total:.1f} % of {total:,} held-out images '
            f'(the largest class is {100 * largest / total:.1f} %)',
        ),
        ('confused', confusion_line(matrix, classes)),
        ('classifier', str(checkpoint)),
        ('config', str(out / 'finetune.py')),
    ]
    config, weights = str(out / 'finetune.py'), str(checkpoint)
    code, image = 'import mmcae; ', '"IMAGE"'
    if channels != 3 or value_range is not None:
        # mmpretrain would load 8-bit color.
        code = 'from mmcae.datasets.transforms import LoadImage; '
        options = f'channels={channels}, value_range={value_range!r}'
        image = f'LoadImage({options}).load("IMAGE")'
    code += (
        'from mmpretrain import ImageClassificationInferencer as Inferencer; '
        f'classify = Inferencer({json.dumps(config)}, '
        f'pretrained={json.dumps(weights)}); '
        f'print(classify({image})[0]["pred_class"])'
    )
    export = ['mmcae', 'export', weights, '--to', 'onnx', '--out']
    export.append(str(out / 'onnx'))
    return '\n'.join(
        [
            f'Done in {duration_text(seconds)}.',
            *text.labeled_lines(rows),
            'Next: the class of an image, or the classifier for ONNX',
            f'  python -c {quote(code)}',
            '  ' + ' '.join(map(quote, export)),
        ]
    )
