# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The authors' tensor names, for their own programs (``lxtGH/CAE``)."""

from pathlib import Path

from mmcae.checkpoint.official import to_official
from mmcae.checkpoint.writing import write_weights
from mmcae.export.comparison import Run
from mmcae.export.job import Job
from mmcae.export.mmcae_format import load as load_again
from mmcae.version import __version__


def runtime() -> str:
    """What runs the written file: the authors' programs are not packages."""
    return f'mmcae {__version__}, which read the file and converted it back'


def write(job: Job, path: Path) -> None:
    """Write all weights of the checkpoint under the authors' names."""
    state = to_official(job.source.tensors)
    header = {**job.metadata, 'format': 'pt', 'tensor_names': 'authors'}
    # The authors' programs read the tensors from the key `model`.
    write_weights(state, path, header, 'model')


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the model of the file."""
    return load_again(job, path)
