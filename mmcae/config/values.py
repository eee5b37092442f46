# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Values that a config may hold, as one table.

mmengine and torch find a wrong value late and with a traceback (a batch size
of ``'abc'`` only after the images are decoded), or never (``max_epochs=0``
trains nothing). Each row of `RULES` says what the value of a key must be. Add
a row to check one more key; a row must stand before the rows of values that
are computed from its own. `RELATIONS` has a function for each check of two
keys.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mmcae.config.check import ConfigError
from mmcae.config.key_paths import value_at, walk
from mmcae.config.keys import TOP_LEVEL
from mmcae.config.kinds import (
    DICT,
    FLAG,
    LIST,
    NEVER,
    NOTHING,
    SHARE,
    TEXT,
    Kind,
    exactly,
    number,
    several,
    whole,
)


@dataclass(frozen=True)
class Rule:
    """What the value at some keys must be.

    Args:
        keys: A dotted path; ``*`` stands for any one part, ``**`` for any
            number of parts.
        kind: What the value must be.
        types: Check only dicts of these types; a type without a scope stands
            for all scopes. Empty: check every dict.
    """

    keys: str
    kind: Kind
    types: tuple[str, ...] = ()

    def pattern(self) -> re.Pattern[str]:
        """The keys as a regular expression."""
        text = re.escape(self.keys).replace(r'\*\*\.', r'(?:.+\.)?')
        return re.compile(text.replace(r'\*', r'[^.]+'))


#: The names that logging knows, and those that it accepts from mmengine.
LEVELS = ('DEBUG', 'INFO', 'WARNING', 'WARN', 'ERROR', 'CRITICAL', 'FATAL')
CROPS = ('mmcae.RandomResizedCrop', 'mmcae.TwoViewRandomResizedCrop')

RULES = (
    # what is trained, and for how long
    Rule('model', DICT),
    Rule('train_cfg', DICT | NOTHING),
    Rule('train_cfg.max_epochs', whole(1)),
    Rule('train_cfg.max_iters', whole(1)),
    Rule('train_cfg.val_interval', number(1)),
    Rule('train_cfg.val_begin', whole(0)),
    Rule('randomness.seed', whole(0, 2**32 - 1) | NOTHING),
    Rule('randomness.deterministic', FLAG),
    Rule('randomness.diff_rank_seed', FLAG),
    # files
    Rule('work_dir', TEXT | NOTHING),
    Rule('load_from', TEXT | NOTHING),
    Rule('*_dataloader.**.data_root', TEXT | exactly('', None)),
    Rule('*_dataloader.**.ann_file', TEXT | exactly('', None)),
    Rule('model.**.init_cfg.checkpoint', TEXT | exactly('', None)),
    Rule('log_level', exactly(*LEVELS)),
    Rule('log_processor.window_size', whole(1)),
    # batches
    Rule('*_dataloader', DICT | NOTHING),
    Rule('*_dataloader.batch_size', whole(1)),
    Rule('*_dataloader.num_workers', whole(0)),
    Rule('*_dataloader.prefetch_factor', whole(1) | NOTHING),
    Rule('*_dataloader.timeout', number(0)),
    Rule('*_dataloader.drop_last', FLAG),
    Rule('*_dataloader.pin_memory', FLAG),
    Rule('*_dataloader.persistent_workers', FLAG),
    Rule('*_dataloader.dataset', DICT),
    # steps
    Rule('optim_wrapper', DICT | NOTHING),
    Rule('optim_wrapper.optimizer', DICT),
    Rule('optim_wrapper.optimizer.fused', FLAG | NOTHING),
    Rule('optim_wrapper.optimizer.foreach', FLAG | NOTHING),
    Rule('optim_wrapper.accumulative_counts', whole(1)),
    Rule(
        'optim_wrapper.dtype',
        exactly('float16', 'bfloat16', 'float32', 'float64', None),
    ),
    Rule(
        'optim_wrapper.loss_scale',
        exactly('dynamic') | number(above=0) | DICT,
    ),
    Rule('optim_wrapper.clip_grad', DICT | NOTHING),
    Rule('optim_wrapper.clip_grad.max_norm', number(above=0)),
    Rule('optim_wrapper.clip_grad.clip_value', number(above=0)),
    Rule('optim_wrapper.optimizer.lr', number(0)),
    Rule('optim_wrapper.optimizer.weight_decay', number(0)),
    Rule('optim_wrapper.optimizer.momentum', number(0, below=1)),
    Rule('optim_wrapper.optimizer.eps', number(0)),
    Rule(
        'optim_wrapper.optimizer.betas',
        several(number(0, below=1), 2),
        ('Adam', 'AdamW', 'NAdam', 'RAdam', 'Adamax', 'Lion', 'Lamb'),
    ),
    Rule(
        'optim_wrapper.paramwise_cfg.layer_decay_rate', number(above=0, most=1)
    ),
    Rule('optim_wrapper.paramwise_cfg.*_mult', number(0)),
    Rule('auto_scale_lr.base_batch_size', whole(1)),
    # schedules
    Rule('param_scheduler', LIST | DICT | NOTHING),
    Rule('param_scheduler.*.begin', whole(0)),
    Rule('param_scheduler.*.end', whole(1)),
    Rule('param_scheduler.*.T_max', whole(1) | NOTHING),
    Rule('param_scheduler.*.start_factor', SHARE),
    Rule('param_scheduler.*.end_factor', SHARE),
    Rule('param_scheduler.*.eta_min', number(0) | NOTHING),
    Rule('param_scheduler.*.gamma', number(above=0)),
    Rule('param_scheduler.*.milestones', several(whole(1))),
    Rule('param_scheduler.*.by_epoch', FLAG),
    Rule('param_scheduler.*.convert_to_iter_based', FLAG),
    # hooks
    Rule('custom_hooks', LIST | NOTHING),
    Rule('custom_hooks.*', DICT),
    Rule('default_hooks', DICT | NOTHING),
    Rule('default_hooks.*', DICT | NOTHING),
    Rule('default_hooks.logger.interval', whole(1)),
    Rule('default_hooks.checkpoint.interval', whole(1) | NEVER),
    Rule('default_hooks.checkpoint.max_keep_ckpts', whole(1) | NEVER),
    Rule('default_hooks.checkpoint.save_optimizer', FLAG),
    Rule('default_hooks.checkpoint.save_last', FLAG),
    Rule(
        'default_hooks.checkpoint.save_best',
        TEXT | several(TEXT) | NOTHING,
    ),
    Rule('default_hooks.visualization.enable', FLAG),
    # the model: names that mmcae's classes share with mmpretrain's
    Rule('**.drop_path_rate', number(0, below=1)),
    Rule('**.drop_rate', number(0, 1)),
    Rule('**.attn_drop_rate', number(0, 1)),
    Rule('**.vocab_size', whole(1)),
    Rule('model.base_momentum', SHARE, ('CAE',)),
    Rule('model.backbone.in_channels', whole(1)),
    Rule('model.neck.mlp_ratio', number(above=0), ('CAENeck',)),
    Rule('model.neck.regressor_depth', whole(1), ('CAENeck',)),
    Rule('model.neck.decoder_depth', whole(0), ('CAENeck',)),
    Rule('model.neck.num_heads', whole(1), ('CAENeck',)),
    Rule('model.neck.embed_dims', whole(1), ('CAENeck',)),
    Rule('model.neck.num_classes', whole(1), ('CAENeck',)),
    Rule('model.head.loss.lambd', number(0), ('CAELoss',)),
    Rule('model.head.num_classes', whole(1)),
    Rule(
        'model.backbone.patch_size',
        whole(1) | several(whole(1), 2),
        ('CAEViT', 'CAEPretrainViT'),
    ),
    Rule(
        'model.backbone.img_size',
        whole(1) | several(whole(1), 2),
        ('CAEViT', 'CAEPretrainViT'),
    ),
    Rule('model.backbone.arch.num_heads', whole(1)),
    Rule('model.backbone.arch.num_layers', whole(1)),
    Rule('model.backbone.arch.embed_dims', whole(1)),
    Rule('model.backbone.arch.feedforward_channels', whole(1)),
    # images
    Rule('**.data_preprocessor.mean', several(number()) | NOTHING),
    Rule('**.data_preprocessor.std', several(number(above=0)) | NOTHING),
    Rule('**.data_preprocessor.to_rgb', FLAG),
    Rule('**.data_preprocessor.second_mean', several(number()) | NOTHING),
    Rule(
        '**.data_preprocessor.second_std', several(number(above=0)) | NOTHING
    ),
    Rule('**.scale', several(number(above=0, most=1), 2), CROPS),
    Rule('**.prob', SHARE | several(SHARE)),
    Rule('**.num_masking_patches', whole(1)),
)


def check_values(cfg: Any) -> None:
    """Refuse values with which no run can work.

    Args:
        cfg: A complete config, options applied.

    Raises:
        ConfigError: Names the key, the value, and what it must be.
    """
    if cfg.get('model') is None:
        raise ConfigError('model=None: the config has no model to train')
    values = list(_read_values(cfg))
    for rule in RULES:  # the first broken rule gives the message
        pattern = rule.pattern()
        for path, value in values:
            if not pattern.fullmatch(path) or rule.kind.accepts(value):
                continue
            if rule.types and not _types_around(cfg, path) & set(rule.types):
                continue
            raise ConfigError(f'{path}={value!r}: must be {rule.kind.wanted}')
    for relation in RELATIONS:
        relation(cfg)


def _read_values(cfg: Any) -> Iterator[tuple[str, Any]]:
    for path, value in walk(cfg):
        if path.partition('.')[0] in TOP_LEVEL:
            yield path, value


def _types_around(cfg: Any, path: str) -> set[str]:
    """The type of the dict that has a key, with and without its scope."""
    kind = value_at(cfg, f'{path.rpartition(".")[0]}.type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return {name, name.rpartition('.')[2]}


def _schedules_have_steps(cfg: Any) -> None:
    schedulers = cfg.get('param_scheduler')
    if not isinstance(schedulers, list | tuple):
        return
    for index, scheduler in enumerate(schedulers):
        begin, end = scheduler.get('begin', 0), scheduler.get('end', math.inf)
        if begin >= end:
            raise ConfigError(
                f'param_scheduler.{index}.end={end}: must be more than its '
                f'begin={begin}'
            )


def _mean_and_std_fit(cfg: Any) -> None:
    """Mean and std have one number for all channels or one for each."""
    for prefix in ('', 'model.'):
        parts = value_at(cfg, f'{prefix}data_preprocessor') or {}
        for names in (('mean', 'std'), ('second_mean', 'second_std')):
            mean, std = (parts.get(name) for name in names)
            if mean is None or std is None:
                continue
            channels = value_at(cfg, 'model.backbone.in_channels') or 3
            allowed = {1, channels}
            for name, value in zip(names, (mean, std), strict=True):
                if len(value) not in allowed:
                    raise ConfigError(
                        f'{prefix}data_preprocessor.{name}={value!r}: must '
                        f'be a list of {channels} numbers, one per channel '
                        '(model.backbone.in_channels)'
                    )


def _loops_are_complete(cfg: Any) -> None:
    """A loop needs all of its parts; mmengine would print them in full."""
    for loop, part in (
        ('train', 'optim_wrapper'),
        ('val', 'val_evaluator'),
        ('test', 'test_evaluator'),
    ):
        names = (f'{loop}_dataloader', f'{loop}_cfg', part)
        missing = [name for name in names if cfg.get(name) is None]
        present = [name for name in names if name not in missing]
        if missing and present:
            raise ConfigError(
                f'{missing[0]}=None: must be given, because the config has '
                f'{" and ".join(present)}; or set all of them to None'
            )


RELATIONS: tuple[Callable[[Any], None], ...] = (
    _schedules_have_steps,
    _mean_and_std_fit,
    _loops_are_complete,
)
