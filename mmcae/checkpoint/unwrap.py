# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The model inside a wrapper for distributed training."""

from typing import Any

from mmengine.model import is_model_wrapper


def unwrap(model: Any) -> Any:
    """Return the model inside a wrapper such as ``DistributedDataParallel``.

    Args:
        model: A model, wrapped or not.

    Returns:
        The wrapped model, or ``model`` itself if it is not wrapped.
    """
    return model.module if is_model_wrapper(model) else model
