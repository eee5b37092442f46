# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Hooks that mmengine and mmpretrain do not have."""

from .checkpoint_hook import CheckpointHook
from .collapse_hook import CollapseHook
from .data_health_hook import DataHealthHook
from .iteration_seed_hook import IterationSeedHook
from .loss_band_hook import LossBandHook
from .non_finite_hook import NonFiniteHook
from .online_probe_hook import OnlineProbeHook
from .probe_summary_hook import ProbeSummaryHook
from .progress_hook import ProgressHook
from .reconstruction_hook import ReconstructionHook
from .report_hook import ReportHook
from .runtime_info_hook import RuntimeInfoHook
from .signal_hook import SignalHook
from .stall_hook import StallHook
from .sweep_accuracy_hook import SweepAccuracyHook
from .temperature_hook import TemperatureHook
from .token_store_hook import TokenStoreHook
from .tokenizer_record_hook import TokenizerRecordHook

__all__ = [
    'CheckpointHook',
    'CollapseHook',
    'DataHealthHook',
    'IterationSeedHook',
    'LossBandHook',
    'NonFiniteHook',
    'OnlineProbeHook',
    'ProbeSummaryHook',
    'ProgressHook',
    'ReconstructionHook',
    'ReportHook',
    'RuntimeInfoHook',
    'SignalHook',
    'StallHook',
    'SweepAccuracyHook',
    'TemperatureHook',
    'TokenStoreHook',
    'TokenizerRecordHook',
]
