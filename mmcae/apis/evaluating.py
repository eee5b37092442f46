# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A model in evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; afterwards it has its former mode.

    Args:
        model: The model. An error inside leaves it as it was, too.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
