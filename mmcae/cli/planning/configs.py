# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a plan as configs: packaged ones, with other values of variables."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcae.cli.copy_config import with_package_bases
from mmcae.cli.planning.choices import size_of
from mmcae.cli.planning.config_text import written
from mmcae.cli.planning.folder import Folder
from mmcae.cli.planning.plan import Plan, Stage
from mmcae.cli.planning.start import (
    encoder_lines,
    start_lines,
    start_normalization,
    start_values,
)

DALLE = dict(
    type='mmcae.DALLEEncoder',
    precision='auto',
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://download.openmmlab.com/mmselfsup/1.x/'
        'target_generator_ckpt/dalle_encoder.pth',
    ),
)


def write_configs(plan: Plan, folder: Folder, out: Path) -> dict[str, str]:
    """The texts of the configs that a plan runs.

    Args:
        plan: With its lengths.
        folder: The images.
        out: The run's folder. The tokenizer's checkpoint is going to be in
            ``out/tokenizer``.

    Returns:
        File name and text, in the order in which they run.
    """
    spec = size_of(plan.size, plan.start)
    texts = {}
    if plan.tokenizer is not None:
        texts['tokenizer.py'] = filled(
            spec.tokenizer_config,
            {
                **_data(plan, folder, plan.tokenizer),
                'image_size': 8 * plan.grid,
                'vocab_size': plan.vocab_size,
                'pixel_mean': tuple(round(x / 255, 3) for x in folder.mean),
                'pixel_std': tuple(round(x / 255, 3) for x in folder.std),
            },
            out / 'tokenizer',
        )
    values = {
        **_data(plan, folder, plan.cae),
        'tokenizer': str(tokenizer_checkpoint(plan, out)),
        'image_size': plan.image_size,
        'patch_size': plan.patch_size,
        'vocab_size': plan.vocab_size,
        'width': spec.width,
        'num_heads': spec.num_heads,
        'mean': list(folder.mean),
        'std': list(folder.std),
        'warmup_epochs': plan.cae.warmup_epochs,
    }
    if plan.size != 'tiny':
        large = plan.size == 'large'
        values |= {
            'arch': plan.size,
            'weight_init': 'beit' if large else 'xavier',
            'layer_scale': 1e-5 if large else 0.1,
            'accumulation': plan.cae.accumulation,
            'precision': plan.precision,
        }
    if folder.channels != 3:
        values |= {
            'second_mean': [0.0] * folder.channels,
            'second_std': [255.0] * folder.channels,
        }
    if plan.target == 'dalle':
        # 0.8 * x / 255 + 0.1, which is what DALL-E's tokenizer reads
        values |= {
            'target_generator': DALLE,
            'second_mean': [-31.875] * 3,
            'second_std': [318.75] * 3,
        }
    values |= start_values(plan.start, len(folder.mean))
    texts['cae.py'] = filled(spec.cae_config, values, out / 'cae')
    texts['cae.py'] += start_lines(plan.start)
    return texts


def write_finetuning(plan: Plan, folder: Folder, out: Path) -> str:
    """The text of a config that fine-tunes the encoder on labeled images.

    Args:
        plan: With its lengths.
        folder: The images.
        out: The run's folder, where CAE's checkpoint is going to be.
    """
    spec = size_of(plan.size, plan.start)
    large = plan.size == 'large'
    values = encoder_values(
        plan.size,
        checkpoint=cae_checkpoint(plan, out).absolute(),
        image_size=plan.image_size,
        patch_size=plan.patch_size,
        width=spec.width,
        num_heads=spec.num_heads,
        layer_scale=1e-5 if large else 0.1,
        mean=folder.mean,
        std=folder.std,
    )
    values |= {
        'num_workers': plan.workers,
        'channels': folder.channels,
        'value_range': folder.value_range,
    }
    values |= start_normalization(plan.start, len(folder.mean))
    text = filled(spec.finetune_config, values, out / 'finetune')
    return text + encoder_lines(plan.start)


def encoder_values(
    size: str,
    *,
    checkpoint: Path | str,
    image_size: int,
    patch_size: int,
    width: int,
    num_heads: int,
    layer_scale: float,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """The variables of a fine-tuning config that an encoder decides.

    Args:
        size: A key of `SIZES`, whose config is filled.
        checkpoint: Of the encoder.
        image_size: Side of its images, in pixels.
        patch_size: Side of a patch, in pixels.
        width: Width of a token.
        num_heads: Attention heads of a block.
        layer_scale: Initial value of its layer scales.
        mean: Of the pixels of the pretraining, RGB, from 0 to 255.
        std: Their standard deviation.
    """
    values: dict[str, Any] = {
        'checkpoint': str(checkpoint),
        'image_size': image_size,
        'patch_size': patch_size,
        'width': width,
        'mean': list(mean),
        'std': list(std),
    }
    if size == 'tiny':
        values['num_heads'] = num_heads
    else:
        values['arch'] = size
        values['layer_scale'] = layer_scale
    return values


def tokenizer_checkpoint(plan: Plan, out: Path) -> Path:
    """Where the trained tokenizer is going to be."""
    epochs = plan.tokenizer.epochs if plan.tokenizer else 0
    return (out / 'tokenizer' / f'epoch_{epochs}.pth').absolute()


def cae_checkpoint(plan: Plan, out: Path) -> Path:
    """Where the trained CAE is going to be."""
    return out / 'cae' / f'epoch_{plan.cae.epochs}.pth'


def _data(plan: Plan, folder: Folder, stage: Stage) -> dict[str, Any]:
    path = str(Path(folder.name).expanduser().absolute())
    return {
        'data_root': '' if folder.is_list else path,
        'list_file': path if folder.is_list else '',
        'max_unreadable': plan.max_unreadable,
        'channels': folder.channels,
        'value_range': folder.value_range,
        'crop_scale': plan.crop_scale,
        'num_workers': plan.workers,
        'cache': plan.cache,
        'cache_side': plan.cache_side,
        'batch_size': stage.batch_size,
        'lr': float(f'{stage.lr:.3g}'),
        'max_epochs': stage.epochs,
        # Five checkpoints, of which the newest is kept.
        'checkpoint_interval': max(1, stage.epochs // 5),
    }


def filled(
    name: str,
    values: Mapping[str, Any],
    work_dir: Path,
    command: str = 'pretrain',
) -> str:
    """Give variables of a packaged config other values.

    Args:
        name: The config.
        values: By the names of its variables.
        work_dir: Where the run writes.
        command: The verb that writes it.
    """
    from mmcae.config.search_path import find_config, resource_root

    source = find_config(name)
    text = with_package_bases(source, resource_root() / 'configs')
    text = set_variables(text, values)
    # The docstring tells how the packaged file is used.
    docstring = ast.parse(text).body[0]
    lines = text.splitlines(keepends=True)
    lines[docstring.lineno - 1 : docstring.end_lineno] = [
        f'"""Written by `mmcae {command}`, from the config\n{name}.\n"""\n'
    ]
    return f'{"".join(lines)}work_dir = {str(work_dir.absolute())!r}\n'


def set_variables(text: str, values: Mapping[str, Any]) -> str:
    """Give variables of a config other values; comments stay.

    Args:
        text: A config.
        values: By the names of variables that the file assigns at its top
            level, each in a statement of its own.

    Raises:
        KeyError: If the file assigns no such variable.
    """
    lines = text.splitlines(keepends=True)
    missing = set(values)
    for node in reversed(ast.parse(text).body):
        if not isinstance(node, ast.Assign) or len(node.targets) > 1:
            continue
        (target,) = node.targets
        if not isinstance(target, ast.Name) or target.id not in missing:
            continue
        missing.remove(target.id)
        assert node.end_lineno is not None
        rest = lines[node.end_lineno - 1][node.end_col_offset :]
        new = f'{target.id} = {written(values[target.id])}{rest}'
        lines[node.lineno - 1 : node.end_lineno] = [new]
    if missing:
        raise KeyError(f'the config assigns no {", ".join(sorted(missing))}')
    return ''.join(lines)
