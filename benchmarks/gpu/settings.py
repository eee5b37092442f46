# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the checks measure: real sizes on a GPU, small ones on a CPU."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Settings:
    """The options of a run.

    Attributes:
        device: ``'cuda'`` or ``'cpu'``.
        out: Folder of the results.
        official: The authors' repository, if it is to be measured.
        long: Whether the long trainings also run on a CPU.
    """

    device: str
    out: Path
    official: Path | None = None
    long: bool = False

    @property
    def cuda(self) -> bool:
        """Whether a GPU is measured."""
        return self.device == 'cuda'

    @property
    def torch_device(self) -> torch.device:
        """The device as PyTorch has it."""
        return torch.device(self.device)

    @property
    def arch(self) -> str:
        """Size of the models whose speed and memory are measured."""
        return 'base' if self.cuda else 'tiny'

    @property
    def half(self) -> tuple[str, ...]:
        """Reduced precisions that the device trains in."""
        return ('bf16', 'fp16') if self.cuda else ('bf16',)

    def folder(self, check: str) -> Path:
        """A folder for files of a check, made if it is missing."""
        path = self.out / 'work' / check
        path.mkdir(parents=True, exist_ok=True)
        return path

    def pick(self, on_gpu: int, on_cpu: int) -> int:
        """A number of steps or images for the device."""
        return on_gpu if self.cuda else on_cpu
