# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How a pretraining that starts from weights differs from one that does not.

The numbers come from the study ``benchmarks/adapt_study.py``; docs/adapt.md
says how they were chosen and shows the results.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Adaptation:
    """Settings of continued pretraining, relative to those from scratch.

    Attributes:
        peak_factor: Peak of the learning rate, divided by the peak that the
            linear rule gives for the same batch from scratch.
        warmup_share: Share of the epochs over which the rate rises, rounded,
            but at least one epoch.
        layer_decay: Factor of the rate from one encoder layer to the layer
            below it; 1 trains all layers at the same rate. Regressor and
            decoder always have the full rate.
        epochs_share: Epochs, divided by the usual epochs from scratch.
    """

    peak_factor: float = 0.5
    warmup_share: float = 0.05
    layer_decay: float = 1.0
    epochs_share: float = 0.25


ADAPTATION = Adaptation()
