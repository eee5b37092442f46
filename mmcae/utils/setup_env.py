# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fill the registries at once, as OpenMMLab's other packages can."""

from importlib import import_module

from mmengine.registry import DefaultScope

MODULES = ('models', 'datasets', 'engine', 'evaluation')


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import all that mmcae registers.

    Rarely needed: ``type='mmcae.X'`` imports what it names.
    ``mmengine.hub.get_model`` calls this function.

    Args:
        init_default_scope: Whether names without scope are to be looked for
            in mmpretrain, as in mmcae's configs, if no default is set yet.
    """
    for name in MODULES:
        import_module(f'mmcae.{name}')
    if init_default_scope and DefaultScope.get_current_instance() is None:
        DefaultScope.get_instance('mmpretrain', scope_name='mmpretrain')
