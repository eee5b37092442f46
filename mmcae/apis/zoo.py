# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make mmpretrain's and mmengine's look-ups know mmcae's names."""

import warnings
from typing import Any

from mmcae.utils.paths import resource_root


def register_zoo() -> None:
    """Add mmcae's model index to ``mmpretrain``'s ``ModelHub``.

    mmpretrain reads its own index at the first look-up, which takes seconds
    and refuses a name that exists. mmcae's entries are therefore added right
    after that reading, whenever it happens, and replace the two entries of
    equal name. Calling this again changes nothing.
    """
    from mmpretrain.apis.model import ModelHub

    if 'mmcae_registered' in ModelHub.__dict__:
        return
    ModelHub.mmcae_registered = False

    own = ModelHub.__dict__.get('_register_mmpretrain_models')
    if own is None:  # no lazy reading in this mmpretrain: add at once
        _add_entries(ModelHub)
        return

    @classmethod  # type: ignore[misc]
    def register_both(cls: Any) -> None:
        own.__func__(cls)
        _add_entries(ModelHub)

    ModelHub._register_mmpretrain_models = register_both


def register_configs() -> None:
    """Let ``_base_ = 'mmcae::cae/NAME.py'`` find mmcae's packaged configs.

    mmengine looks the package up in a fixed table of module names.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault('mmcae', 'mmcae')


def _add_entries(hub: Any) -> None:
    """Put mmcae's entries over mmpretrain's, all of them or none."""
    if hub.mmcae_registered:
        return
    # Once is enough, also for a failure: mmpretrain's names must keep working.
    hub.mmcae_registered = True

    class Scratch(hub):
        """A hub of its own, in which no name can clash."""

        _models_dict: dict[str, Any] = {}

    try:
        root = resource_root()
        Scratch.register_model_index(
            root / 'model-index.yml', config_prefix=root
        )
    except Exception as error:
        warnings.warn(
            f"mmcae's models are missing from the model zoo: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    hub._models_dict.update(Scratch._models_dict)
