# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Register all of mmcae at once, as OpenMMLab's other packages can."""

from importlib import import_module

from mmengine.registry import DefaultScope

MODULES = ('models', 'datasets', 'engine', 'evaluation')


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import everything that mmcae registers.

    Users rarely need it, because ``type='mmcae.X'`` imports the module of X.
    ``mmengine.hub.get_model`` calls this function.

    Args:
        init_default_scope: If True and no default scope is set yet, names
            without scope are looked up in mmpretrain, as in mmcae's configs.
    """
    for name in MODULES:
        import_module(f'mmcae.{name}')
    if init_default_scope and DefaultScope.get_current_instance() is None:
        DefaultScope.get_instance('mmpretrain', scope_name='mmpretrain')
