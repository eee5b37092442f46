# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The formats that `export` writes; a command line reads it in no time."""

from typing import NamedTuple

PARTS = ('encoder', 'classifier', 'dense')
#: How an encoder pools its output to one vector an image.
POOLS = ('mean', 'cls', 'normed_mean')
#: Largest relative difference that is allowed, by the precision.
TOLERANCES = {'float32': 1e-4, 'float16': 2e-2, 'int8': 0.2}
WEIGHTS = ('.safetensors', '.pth')


class Format(NamedTuple):
    """A format that `export` writes.

    Attributes:
        module: The module of this room that writes and runs it.
        summary: What it is, in a few words.
        suffixes: How the name of a file may end; ``''`` for a folder.
        parts: The parts that it can hold.
        any_size: Whether it can hold a model for images of all sizes:
            ``'always'``, ``'without_bias'`` (not with relative position
            biases) or ``'never'``.
        precisions: Types of numbers that it can hold.
    """

    module: str
    summary: str
    suffixes: tuple[str, ...]
    parts: tuple[str, ...] = PARTS
    any_size: str = 'never'
    precisions: tuple[str, ...] = ('float32',)


FORMATS: dict[str, Format] = {
    'timm': Format(
        'timm_format',
        "timm's Beit: a folder for timm.create_model, or a file",
        ('', *WEIGHTS),
    ),
    'transformers': Format(
        'transformers_format',
        'a folder for AutoModel.from_pretrained',
        ('',),
        any_size='without_bias',
    ),
    'onnx': Format(
        'onnx_format',
        'a graph for onnxruntime, TensorRT, OpenVINO and others',
        ('.onnx',),
        any_size='always',
        precisions=('float32', 'float16', 'int8'),
    ),
    'torchscript': Format(
        'torchscript_format',
        'a file for torch.jit.load, also in C++',
        ('.pt',),
        any_size='always',
    ),
    'torch-export': Format(
        'torch_export_format',
        'a graph for AOTInductor and ExecuTorch',
        ('.pt2',),
        any_size='always',
    ),
    'safetensors': Format(
        'mmcae_format',
        "weights with mmcae's names, for publication",
        ('.safetensors',),
    ),
    'mmpretrain': Format(
        'mmpretrain_format', "mmpretrain's own BEiTViT, without mmcae", WEIGHTS
    ),
    'official': Format(
        'official_format', "weights with the authors' names", WEIGHTS
    ),
}
