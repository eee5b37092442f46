# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The names that mmengine's Runner and OpenMMLab's tools read from a config.

Wherever a dict's keys are the arguments of a function or class, they are read
from its signature, so they are those of the installed mmengine and torch. The
names listed here have no signature: mmengine reads them with ``cfg.get(...)``.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import init_dist
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed import init_process_group
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader


def _arguments(
    *functions: Callable[..., Any], without: str = ''
) -> frozenset[str]:
    """Names of the arguments that a config can give.

    Args:
        functions: Functions or classes that get the config's dict.
        without: Arguments that the caller fills in, divided by blanks.
    """
    return frozenset(
        name
        for function in functions
        for name, item in inspect.signature(function).parameters.items()
        if item.kind != item.VAR_KEYWORD and not name.startswith('_')
    ) - {'self', *without.split()}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Top-level names that something reads.
TOP_LEVEL = (
    _arguments(Runner, FlexibleRunner)
    # The Runner reads these from the whole config, which it gets as ``cfg``.
    | _names("""
        activation_checkpointing efficient_conv_bn_eval
        find_unused_parameters model_wrapper_cfg sync_bn""")
    # ``Config.fromfile`` and mmengine's registries read these.
    | _names('custom_imports env_variables runner_type')
    # OpenMMLab's tools read these, and ours.
    | _names('token_store tta_model tta_pipeline vis_backends')
)

#: Names that configs use for variables by convention; never a misspelling.
CONVENTIONAL = _names("""
    backend_args base_lr batch_size checkpoint_config data_root dataset
    dataset_type datasets evaluation file_client_args img_scale load_pipeline
    log_config max_epochs max_iters metainfo model_cfg models norm_cfg
    num_workers optimizer test_pipeline train_cfgs train_pipeline
    val_pipeline work_dirs""")

#: ``Runner.build_dataloader`` takes two keys out before it calls the class.
_LOADER = _arguments(DataLoader) | _names(
    'disable_subprocess_warning num_batch_per_epoch'
)

#: Keys of the dicts that carry no ``type``, by their dotted path.
UNTYPED: dict[str, frozenset[str]] = {
    'train_dataloader': _LOADER,
    'val_dataloader': _LOADER,
    'test_dataloader': _LOADER,
    # ``Runner.setup_env`` reads them one by one.
    'env_cfg': _names('cudnn_benchmark dist_cfg mp_cfg resource_limit'),
    'env_cfg.mp_cfg': _arguments(set_multi_processing, without='distributed'),
    # ``port`` is an argument of mmengine's private start-up for Slurm.
    'env_cfg.dist_cfg': _names('port')
    | _arguments(init_dist, init_process_group, without='launcher'),
    'randomness': _arguments(Runner.set_randomness),
    # ``Runner.scale_lr`` reads them one by one.
    'auto_scale_lr': _names('base_batch_size enable'),
    # mmengine takes ``target``, the method's name, before it calls torch.
    'compile': _names('target') | _arguments(torch.compile, without='model'),
    # mmengine takes ``type``, which chooses between the two functions.
    'optim_wrapper.clip_grad': _names('type')
    | _arguments(clip_grad_norm_, clip_grad_value_, without='parameters'),
    # The constructors of optimizer wrappers (mmengine, mmpretrain, mmdet and
    # mmseg) read them one by one.
    'optim_wrapper.paramwise_cfg': _names("""
        bias_decay_mult bias_lr_mult bypass_duplicate custom_keys
        dcn_offset_lr_mult decay_rate decay_type dwconv_decay_mult
        flat_decay_mult layer_decay_rate norm_decay_mult num_layers
        reset_dim"""),
    # The sizes of a ViT: `mmcae.models.backbones.arch` reads them one by one.
    'model.backbone.arch': _names(
        'embed_dims feedforward_channels num_heads num_layers'
    ),
    # ``Runner.register_default_hooks`` has a dict of them in its body. The
    # last is the name that OpenMMLab's configs give their own hook.
    'default_hooks': _names("""
        checkpoint logger param_scheduler runtime_info sampler_seed timer
        visualization"""),
}

#: Dicts in which any key is a name of the user's own choice.
FREE = ('optim_wrapper.paramwise_cfg.custom_keys',)

#: Dicts in which even the keys of the file itself are checked, because nobody
#: reports an unknown one, or only after minutes and with a traceback.
SILENT = (
    'env_cfg',
    'env_cfg.mp_cfg',
    'auto_scale_lr',
    'optim_wrapper.paramwise_cfg',
    'default_hooks',
    'randomness',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'train_cfg',
    'val_cfg',
    'test_cfg',
)

#: The class that is built when a dict has no ``type``; where the model
#: decides, the classes.
DEFAULT_TYPES = {
    'optim_wrapper': ('OptimWrapper',),
    'log_processor': ('LogProcessor',),
    'visualizer': ('Visualizer',),
    'model_wrapper_cfg': ('MMDistributedDataParallel',),
    'train_cfg': ('EpochBasedTrainLoop', 'IterBasedTrainLoop'),
    'val_cfg': ('ValLoop',),
    'test_cfg': ('TestLoop',),
    'val_evaluator': ('Evaluator',),
    'test_evaluator': ('Evaluator',),
    'data_preprocessor': (
        'mmpretrain.ClsDataPreprocessor',
        'mmpretrain.SelfSupDataPreprocessor',
        'mmpretrain.TwoNormDataPreprocessor',
    ),
}

#: Keys that a builder takes out before it calls the class, by the name of the
#: registry.
BUILDER_KEYS = {
    'hook': _names('priority'),
    'parameter scheduler': _names('convert_to_iter_based'),
    'optim_wrapper': _names('constructor paramwise_cfg'),
    'loop': _names('by_epoch'),
}
