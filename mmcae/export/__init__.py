# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a checkpoint to the formats of other libraries and runtimes.

``api``
    `export`: reads, writes, compares, and keeps a file only if it is equal.
    Start reading here.
``formats``
    The table of formats, parts and tolerances.
``job``
    What the modules of the formats get.
``source``
    From a checkpoint alone to its model; nothing in the file is executed.
``portable``
    The part to export, and a form of it that exporters can follow.
``comparison``
    The differences to the original.
``description``
    The metadata of an exported file.

One module for each format, with ``runtime``, ``write`` and ``load``:
``onnx_format``, ``torchscript_format``, ``torch_export_format``,
``timm_format``, ``transformers_format``, ``mmpretrain_format``,
``mmcae_format`` (safetensors) and ``official_format``.

Tensors and arguments of other libraries, which need not be installed:
``encoder_tensors``, ``plain_weights``, ``timm_names``,
``transformers_names``, ``mmpretrain_names``. ``sweep`` takes one classifier
out of a sweep, and ``publishing`` writes a checkpoint for publication.
"""

from importlib import import_module
from typing import Any

import mmcae.namespace_guard  # noqa: F401

# Imported at first use, because the models take seconds.
_HOMES = {
    'Comparison': 'mmcae.export.comparison',
    'ExportError': 'mmcae.export.comparison',
    'Exported': 'mmcae.export.api',
    'FORMATS': 'mmcae.export.formats',
    'export': 'mmcae.export.api',
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
