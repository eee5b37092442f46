# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`init_cfg=dict(type='mmcae.StartFrom', ...)`: start from weights."""

from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import nn

from mmcae.checkpoint.load_with_report import encoder_prefixes
from mmcae.checkpoint.start_encoder import read_start
from mmcae.checkpoint.start_fit import (
    StartReport,
    start_encoder,
    start_part,
)
from mmcae.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class StartFrom:
    """Initialize an encoder from weights of another library, or of a CAE.

    As ``init_cfg`` of ``model.backbone``, it takes any encoder of the table
    in docs/weights.md. As ``init_cfg`` of ``model.neck``, it takes regressor
    and decoder of a whole CAE. A run that is resumed reads the file, too,
    and then the checkpoint replaces the weights.

    Args:
        checkpoint: A file, a folder of Hugging Face's, a URL, or
            ``mmcae://NAME``.
        part: Which part of the model a module is that is not an encoder.
        skip: Beginnings of names of this part that stay new: ``['head.']``
            with another tokenizer.
        num_heads: Number of heads, if the file does not say it.
    """

    def __init__(
        self,
        checkpoint: str,
        part: str = 'neck',
        skip: Sequence[str] = (),
        num_heads: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.part = part
        self.skip = tuple(skip)
        self.num_heads = num_heads

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a module, and log the report.

        Raises:
            StartError: If the file cannot start this module.
        """
        print_log(str(self.load(module)), logger='current')
        if hasattr(module, '_params_init_info'):
            info = f'StartFrom: load from {self.checkpoint}'
            update_init_info(module, init_info=info)

    def load(self, module: nn.Module) -> StartReport:
        """Load the weights into a module; return the report."""
        start = read_start(self.checkpoint, self.num_heads)
        if encoder_prefixes(module) == ['']:
            return start_encoder(module, start)
        return start_part(module, start, self.part, self.skip)
