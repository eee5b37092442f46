# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""TorchScript: a file for programs that load models with ``torch.jit``."""

import json
import warnings
from pathlib import Path

import torch

from mmcae.export.comparison import Run, sample_batches, version_of
from mmcae.export.job import Job
from mmcae.export.portable import PortableModel

#: Name of the metadata inside the archive.
EXTRA_FILE = 'mmcae.json'


def runtime() -> str:
    """What runs the file."""
    return version_of('torch')


@torch.no_grad()
def write(job: Job, path: Path) -> None:
    """Trace the model and save it with its metadata."""
    model = PortableModel(job.part, job.any_size)
    images = sample_batches(job.part, job.any_size)[1]
    with warnings.catch_warnings():
        # torch recommends torch.export; users of this format know why not.
        warnings.simplefilter('ignore')
        traced = torch.jit.trace(model, (images,), check_trace=False)
        extra = {EXTRA_FILE: json.dumps(job.metadata)}
        torch.jit.save(traced, str(path), _extra_files=extra)
    job.notes.append(
        "load it: torch.jit.load('{path}'), metadata: "
        f"_extra_files={{'{EXTRA_FILE}': ''}}"
    )


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the file."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = torch.jit.load(str(path))
    return lambda images: model(images)
