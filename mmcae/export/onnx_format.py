# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""ONNX by torch's exporter on ``torch.export``, also in 16 and 8 bits.

torch has two exporters. The one on TorchScript (``dynamo=False``) is
deprecated, as TorchScript is; this is the other one, which needs onnxscript.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcae.export.comparison import Run, version_of
from mmcae.export.description import as_texts
from mmcae.export.job import Job
from mmcae.export.torch_export_format import exported_program

#: Operations whose weights get eight bits; a convolution in eight bits is
#: slower than one in float32 on CPUs.
QUANTIZED = ('MatMul', 'Gemm')


def runtime() -> str:
    """What runs the file."""
    return version_of('onnxruntime')


def write(job: Job, path: Path) -> None:
    """Export, reduce the precision if asked, and add the metadata."""
    version_of('onnxscript')
    import onnx

    with _quiet():
        program: Any = torch.onnx.export(
            exported_program(job),
            dynamo=True,
            input_names=['images'],
            output_names=job.part.outputs,
            dynamic_shapes={'images': _axes(job)},
            verbose=False,
        )
        program.save(str(path))
    if job.precision == 'float16':
        _to_float16(path)
    if job.precision == 'int8':
        _to_int8(path)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, as_texts(job.metadata))
    _name_axes(model, job)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    job.notes.append("load it: onnxruntime.InferenceSession('{path}')")


def _axes(job: Job) -> dict[int, str]:
    if job.any_size:
        return {0: 'batch', 2: 'height', 3: 'width'}
    return {0: 'batch'}


def _name_axes(model: Any, job: Job) -> None:
    """Give free axes short names; the exporter's are formulas."""
    names = {
        'features': ['batch', None],
        'logits': ['batch', None],
        'patches': ['batch', 'patches', None],
    }
    maps = ['batch', None, 'rows', 'columns']
    wanted = {0: 'batch', 2: 'height', 3: 'width'}
    for value, axes in [
        (model.graph.input[0], [wanted.get(i) for i in range(4)]),
        *((out, names.get(out.name, maps)) for out in model.graph.output),
    ]:
        shape = value.type.tensor_type.shape.dim
        for axis, name in zip(shape, axes, strict=True):
            if name and not axis.HasField('dim_value'):
                axis.dim_param = name


def _to_float16(path: Path) -> None:
    """Store and compute in float16; inputs and outputs stay float32."""
    import onnx
    import onnx_ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(
        onnx.load(str(path)), keep_io_types=True, op_block_list=['Resize']
    )
    # It appends the casts of the inputs, although they come first.
    ordered = onnx_ir.from_proto(model)
    ordered.graph.sort()
    onnx_ir.save(ordered, str(path))


def _to_int8(path: Path) -> None:
    """Quantize weights now and activations while the model runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(path),
            str(path),
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' progress and advice out of the output."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


def load(job: Job, path: Path) -> Run:
    """Return a function that runs the file on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )

    def run(images: Tensor) -> list[Tensor]:
        outputs = session.run(None, {'images': images.numpy()})
        return [torch.from_numpy(value) for value in outputs]

    return run
