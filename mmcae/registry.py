# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Registries with the scope ``mmcae``.

Their parent is mmengine's *root* registry, not mmpretrain's: only then does
``type='mmcae.CAE'`` resolve from mmpretrain, mmseg and mmdet alike, without
``custom_imports`` and without importing mmcae first.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import (
    WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS,
)
from mmengine.registry import Registry

import mmcae.namespace_guard  # noqa: F401


def _registry(name: str, parent: Registry, location: str) -> Registry:
    return Registry(name, parent=parent, scope='mmcae', locations=[location])


MODELS = _registry('model', MMENGINE_MODELS, 'mmcae.models')
DATASETS = _registry('dataset', MMENGINE_DATASETS, 'mmcae.datasets')
DATA_SAMPLERS = _registry(
    'data sampler', MMENGINE_DATA_SAMPLERS, 'mmcae.datasets'
)
TRANSFORMS = _registry('transform', MMENGINE_TRANSFORMS, 'mmcae.datasets')
FUNCTIONS = _registry('function', MMENGINE_FUNCTIONS, 'mmcae.datasets')
HOOKS = _registry('hook', MMENGINE_HOOKS, 'mmcae.engine')
OPTIMIZERS = _registry('optimizer', MMENGINE_OPTIMIZERS, 'mmcae.engine')
OPTIM_WRAPPERS = _registry(
    'optim_wrapper', MMENGINE_OPTIM_WRAPPERS, 'mmcae.engine'
)
OPTIM_WRAPPER_CONSTRUCTORS = _registry(
    'optimizer wrapper constructor',
    MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    'mmcae.engine',
)
PARAM_SCHEDULERS = _registry(
    'parameter scheduler', MMENGINE_PARAM_SCHEDULERS, 'mmcae.engine'
)
LOOPS = _registry('loop', MMENGINE_LOOPS, 'mmcae.engine')
METRICS = _registry('metric', MMENGINE_METRICS, 'mmcae.evaluation')
MODEL_WRAPPERS = _registry(
    'model_wrapper', MMENGINE_MODEL_WRAPPERS, 'mmcae.launch.distributed'
)
RUNNERS = _registry('runner', MMENGINE_RUNNERS, 'mmcae.launch.tolerant_logs')
WEIGHT_INITIALIZERS = _registry(
    'weight initializer',
    MMENGINE_WEIGHT_INITIALIZERS,
    'mmcae.checkpoint.start_from',
)
