# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Hooks that mmengine and mmpretrain do not have."""

from .checkpoint_hook import CheckpointHook
from .data_health_hook import DataHealthHook
from .iteration_seed_hook import IterationSeedHook
from .probe_summary_hook import ProbeSummaryHook
from .runtime_info_hook import RuntimeInfoHook
from .signal_hook import SignalHook
from .stall_hook import StallHook
from .sweep_accuracy_hook import SweepAccuracyHook
from .temperature_hook import TemperatureHook
from .token_store_hook import TokenStoreHook
from .tokenizer_record_hook import TokenizerRecordHook

__all__ = [
    'CheckpointHook',
    'DataHealthHook',
    'IterationSeedHook',
    'ProbeSummaryHook',
    'RuntimeInfoHook',
    'SignalHook',
    'StallHook',
    'SweepAccuracyHook',
    'TemperatureHook',
    'TokenStoreHook',
    'TokenizerRecordHook',
]
