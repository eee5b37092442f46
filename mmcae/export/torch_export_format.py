# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``torch.export``: a graph for AOTInductor, ExecuTorch and others."""

import json
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
    """Export the model and save it with its metadata."""
    program = exported_program(job)
    extra = {EXTRA_FILE: json.dumps(job.metadata)}
    torch.export.save(program, str(path), extra_files=extra)
    job.notes.append(
        "load it: torch.export.load('{path}').module(), metadata: "
        f"extra_files={{'{EXTRA_FILE}': ''}}"
    )


@torch.no_grad()
def exported_program(job: Job) -> torch.export.ExportedProgram:
    """Record the model with ``torch.export``."""
    free = torch.export.Dim.DYNAMIC
    axes = {0: free, 2: free, 3: free} if job.any_size else {0: free}
    # An example of one image, or a square one, would fix these axes.
    images = sample_batches(job.part, job.any_size)[2 if job.any_size else 1]
    return torch.export.export(
        PortableModel(job.part, job.any_size),
        (images,),
        dynamic_shapes={'images': axes},
    )


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the file."""
    return torch.export.load(str(path)).module()
