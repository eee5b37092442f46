# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The names that mmengine's Runner and OpenMMLab's tools read from a config.

Dicts without a ``type`` have no class to ask which keys they may hold, so
their keys are listed here (mmengine 0.10, ``Runner`` and ``init_dist``).
"""

#: Top-level names that something reads.
TOP_LEVEL = frozenset(
    {
        # Runner.from_cfg
        'model', 'work_dir', 'train_dataloader', 'val_dataloader',
        'test_dataloader', 'train_cfg', 'val_cfg', 'test_cfg',
        'auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'val_evaluator',
        'test_evaluator', 'default_hooks', 'custom_hooks',
        'data_preprocessor', 'load_from', 'resume', 'launcher', 'env_cfg',
        'log_processor', 'log_level', 'visualizer', 'default_scope',
        'randomness', 'experiment_name', 'cfg',
        # read by the Runner from its own ``cfg``
        'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'compile',
        'efficient_conv_bn_eval', 'activation_checkpointing',
        # Config.fromfile, FlexibleRunner, the tools
        'custom_imports', 'runner_type', 'strategy', 'vis_backends',
        'tta_model', 'tta_pipeline', 'env_variables', 'token_store',
    }
)  # fmt: skip

#: Names that configs use for variables by convention; never a misspelling.
CONVENTIONAL = frozenset(
    {
        'data_root', 'dataset_type', 'train_pipeline', 'val_pipeline',
        'test_pipeline', 'backend_args', 'file_client_args', 'metainfo',
        'optimizer', 'models', 'dataset', 'datasets', 'batch_size',
        'num_workers', 'max_epochs', 'max_iters', 'base_lr', 'img_scale',
        'load_pipeline', 'norm_cfg', 'model_cfg', 'train_cfgs', 'log_config',
        'checkpoint_config', 'evaluation', 'work_dirs',
    }
)  # fmt: skip

_LOADER = frozenset(
    {
        'dataset', 'sampler', 'batch_sampler', 'batch_size', 'num_workers',
        'collate_fn', 'worker_init_fn', 'num_batch_per_epoch', 'pin_memory',
        'drop_last', 'timeout', 'persistent_workers', 'prefetch_factor',
        'multiprocessing_context', 'generator', 'pin_memory_device',
        'disable_subprocess_warning',
        'in_order', 'shuffle',
    }
)  # fmt: skip

#: Keys of the dicts that carry no ``type``, by their dotted path.
UNTYPED: dict[str, frozenset[str]] = {
    'train_dataloader': _LOADER,
    'val_dataloader': _LOADER,
    'test_dataloader': _LOADER,
    'env_cfg': frozenset(
        {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}
    ),
    'env_cfg.mp_cfg': frozenset({'mp_start_method', 'opencv_num_threads'}),
    'env_cfg.dist_cfg': frozenset(
        {
            'backend', 'timeout', 'init_backend', 'init_method', 'port',
            'world_size', 'rank', 'store',
        }
    ),
    'randomness': frozenset({'seed', 'deterministic', 'diff_rank_seed'}),
    'auto_scale_lr': frozenset({'enable', 'base_batch_size'}),
    'compile': frozenset(
        {
            'target', 'backend', 'mode', 'options', 'fullgraph', 'dynamic',
            'disable',
        }
    ),
    'optim_wrapper.clip_grad': frozenset(
        {
            'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach',
            'clip_value',
        }
    ),
    'optim_wrapper.paramwise_cfg': frozenset(
        {
            'custom_keys', 'bias_lr_mult', 'bias_decay_mult',
            'norm_decay_mult', 'flat_decay_mult', 'dwconv_decay_mult',
            'dcn_offset_lr_mult', 'bypass_duplicate', 'layer_decay_rate',
            'decay_rate', 'decay_type', 'num_layers', 'reset_dim',
        }
    ),
    'default_hooks': frozenset(
        {
            'runtime_info', 'timer', 'sampler_seed', 'logger',
            'param_scheduler', 'checkpoint', 'visualization',
        }
    ),
    'data_preprocessor': frozenset(
        {
            'mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr', 'to_rgb',
            'non_blocking', 'num_classes', 'to_onehot', 'batch_augments',
            'pad_size_divisor', 'pad_val', 'pad_value', 'pad_mask',
            'seg_pad_val', 'size', 'size_divisor', 'test_cfg',
            'second_mean', 'second_std', 'type',
        }
    ),
}  # fmt: skip

#: Dicts in which any key is a name of the user's own choice.
FREE = ('optim_wrapper.paramwise_cfg.custom_keys',)

#: Dicts whose unknown keys nobody reports, or only after minutes and with a
#: traceback: even a file's own are checked.
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

#: The class that mmengine builds when a dict has no ``type``.
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
}

#: Keys that a builder takes out before it calls the class.
BUILDER_KEYS = {
    'hook': frozenset({'priority'}),
    'parameter scheduler': frozenset({'convert_to_iter_based'}),
    'optim_wrapper': frozenset({'constructor', 'paramwise_cfg'}),
    'loop': frozenset({'by_epoch'}),
}
