# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mixed precision with the same config on GPUs and CPUs."""

import logging

import torch
from mmengine.device import is_cuda_available
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper

from mmcae.registry import OPTIM_WRAPPERS

from .optim_wrapper import SafeStep


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(SafeStep, MMEngineAmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper`` that also runs without a GPU.

    On a GPU it works as mmengine's: in float16 with a loss scaler, or in
    bfloat16, which needs no scaler. Without a GPU, mmengine's wrapper raises
    an error; this one uses bfloat16 autocast on the CPU.

    Args:
        loss_scale: See mmengine. Not used with bfloat16.
        dtype: ``'float16'``, ``'bfloat16'`` or a ``torch.dtype``. Defaults
            to float16 on a GPU and bfloat16 on a CPU.
        use_fsdp: See mmengine.
        clips_in_step: See `OptimWrapper`.
        **kwargs: Arguments of mmengine's ``OptimWrapper``.
    """

    def __init__(
        self,
        loss_scale: str | float | dict = 'dynamic',
        dtype: str | torch.dtype | None = None,
        use_fsdp: bool = False,
        clips_in_step: bool = True,
        **kwargs,
    ) -> None:
        self.clips_in_step = clips_in_step
        if isinstance(dtype, str):
            dtype = getattr(torch, dtype)
        if is_cuda_available():
            super().__init__(
                loss_scale=loss_scale,
                dtype=dtype,
                use_fsdp=use_fsdp,
                **kwargs,
            )
            if dtype == torch.bfloat16:
                self.loss_scaler = torch.amp.GradScaler('cuda', enabled=False)
            return
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', enabled=False)
        self.cast_dtype = torch.bfloat16
        if dtype not in (None, torch.bfloat16):
            print_log(
                f'No GPU: autocast to bfloat16 on the CPU, not to {dtype}',
                logger='current',
                level=logging.WARNING,
            )
