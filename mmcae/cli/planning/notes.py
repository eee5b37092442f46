# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What is weak about a plan."""

from collections.abc import Iterator

from mmcae.cli.planning.folder import Folder
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.plan import Plan
from mmcae.cli.planning.start import EXAMPLE


def plan_notes(folder: Folder, machine: Machine, plan: Plan) -> Iterator[str]:
    """What is weak about a plan, a sentence each."""
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
