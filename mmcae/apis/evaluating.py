# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A context in which a model is in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and restore its mode afterwards.

    Args:
        model: The model. Its mode is restored after an error, too.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
