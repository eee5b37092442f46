# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make mmpretrain's and mmengine's look-ups know mmcae's names."""

import functools
import warnings
from typing import Any

from mmcae.config.nearest import LONG_NAME, nearest
from mmcae.config.search_path import resource_root


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

    _explain_failures(ModelHub)
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


def _explain_failures(hub: Any) -> None:
    """Let mmpretrain's look-ups say what to do when they fail.

    Three places hold `inference_model`; a name that a script imported from
    them before mmcae keeps mmpretrain's short message.
    """
    import mmpretrain

    from mmcae.zoo.entry import EntryWithoutWeights

    find = hub.get.__func__
    infer = mmpretrain.inference_model

    @functools.wraps(find)
    def get(cls: Any, model_name: str) -> Any:
        try:
            return find(cls, model_name)
        except ValueError:
            if model_name.lower() in cls._models_dict:
                raise
            names = cls._models_dict
        near = nearest(model_name, names, LONG_NAME)
        hint = f"; did you mean '{near}'?" if near else ''
        raise ValueError(
            f"there is no model '{model_name}' in the zoo{hint} "
            '(mmpretrain.list_models() has the names)'
        )

    @functools.wraps(infer)
    def inference_model(model: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return infer(model, *args, **kwargs)
        except NotImplementedError:
            is_name = isinstance(model, str)
            entry = hub.get(model) if is_name else model._metainfo
            if not isinstance(entry, EntryWithoutWeights):
                raise
            name = entry.name
        raise NotImplementedError(
            f"'{name}' has no results to show: it is no classifier; "
            'fine-tune or probe it (docs/evaluate.md), see its predictions '
            'with mmcae.apis.reconstruct, or take features with '
            'get_model(...).extract_feat(images)'
        )

    hub.get = classmethod(get)
    for module in (mmpretrain, mmpretrain.apis, mmpretrain.apis.model):
        module.inference_model = inference_model


def _add_entries(hub: Any) -> None:
    """Put mmcae's entries over mmpretrain's, all of them or none."""
    if hub.mmcae_registered:
        return
    from mmcae.zoo.entry import forbid_weights

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
    for name, entry in Scratch._models_dict.items():
        if entry.weights is None:
            theirs = hub._models_dict.get(name)
            forbid_weights(entry, theirs and theirs.weights)
    hub._models_dict.update(Scratch._models_dict)
