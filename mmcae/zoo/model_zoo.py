# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make mmcae's names known to the look-ups of mmpretrain and mmengine."""

import functools
import warnings
from typing import Any

from mmcae.config.nearest import LONG_NAME, nearest
from mmcae.config.renamed import current_name
from mmcae.config.search_path import resource_root


def register_zoo() -> None:
    """Add mmcae's model index to ``mmpretrain``'s ``ModelHub``.

    mmpretrain reads its own index at the first look-up. Reading takes seconds,
    and fails if a name exists already. mmcae's entries are therefore added
    right after it, and replace the two entries of the same name. Calling this
    function again changes nothing.
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

    mmengine looks the package up in a fixed table of module names. Its hub and
    its configs split ``mmcae::PATH`` by one function, which is where the old
    name of a config is replaced.
    """
    from mmengine.config import config
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.hub import hub

    MODULE2PACKAGE.setdefault('mmcae', 'mmcae')
    split = config._get_package_and_cfg_path
    if hasattr(split, '__wrapped__'):
        return

    @functools.wraps(split)
    def split_and_rename(cfg_path: str) -> tuple[str, str]:
        if cfg_path.startswith('mmcae::'):
            cfg_path = current_name(cfg_path)
        return split(cfg_path)

    for module in (config, hub):
        module._get_package_and_cfg_path = split_and_rename


def _explain_failures(hub: Any) -> None:
    """Make mmpretrain's look-ups say what to do when they fail.

    `inference_model` is replaced in the three modules that hold it. A script
    that imports it before mmcae keeps mmpretrain's short message.
    """
    import mmpretrain

    from mmcae.checkpoint.packaged import PREFIX
    from mmcae.zoo.entry import EntryWithoutWeights, PackagedEntry

    find = hub.get.__func__
    infer = mmpretrain.inference_model

    @functools.wraps(find)
    def get(cls: Any, model_name: str) -> Any:
        model_name = current_name(model_name.removeprefix(PREFIX))
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
            if not isinstance(entry, EntryWithoutWeights | PackagedEntry):
                raise
            name = entry.name
        raise NotImplementedError(
            f"'{name}' has no results to show, because it is not a "
            'classifier: fine-tune or probe it (docs/evaluate.md), see its '
            'predictions with mmcae.apis.reconstruct, or take features with '
            'get_model(...).extract_feat(images)'
        )

    hub.get = classmethod(get)
    for module in (mmpretrain, mmpretrain.apis, mmpretrain.apis.model):
        module.inference_model = inference_model


def _add_entries(hub: Any) -> None:
    """Add mmcae's entries to mmpretrain's, all of them or none."""
    if hub.mmcae_registered:
        return
    from mmcae.checkpoint.packaged import is_packaged
    from mmcae.zoo.entry import forbid_weights, use_packaged_weights

    # Set before the attempt: after a failure, mmpretrain's names must keep
    # working, and a second attempt would only warn again.
    hub.mmcae_registered = True

    class Scratch(hub):
        """A separate hub, in which no name exists already."""

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
        elif is_packaged(entry.weights):
            use_packaged_weights(entry)
    hub._models_dict.update(Scratch._models_dict)
