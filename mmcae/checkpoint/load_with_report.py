# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Load checkpoints into models with a CAE encoder.

Log what happened to each tensor, and fail if no tensor fits the model.
"""

import logging
from collections.abc import Mapping
from typing import Any

import mmengine.runner.checkpoint as mmengine_checkpoint
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from mmcae.checkpoint.key_summary import summarize_keys
from mmcae.checkpoint.load_report import LoadReport, collect_notes
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.weights import check_tensors

# Every ViT has these keys, so a match on them alone does not show that the
# file fits.
_KEYS_OF_EVERY_VIT = ('cls_token', 'pos_embed')
# A key that every CAE encoder has.
_ENCODER_KEY = 'layers.0.ln1.weight'
_load_state_dict = mmengine_checkpoint.load_state_dict


class ReportedLoad:
    """Marks the encoders whose loads are reported, such as `CAEViT`."""


def load_state_dict(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    strict: bool = False,
    logger: Any = None,
) -> None:
    """Load as mmengine does, and log a report for a model with a CAE encoder.

    The report replaces mmengine's list of mismatches. Other models are
    loaded by mmengine unchanged.

    Args:
        module: The model, or a part of it.
        state_dict: Names and tensors.
        strict: Whether missing and unexpected tensors are errors.
        logger: For mmengine's ``print_log``; the current one by default.

    Raises:
        UnreadableCheckpointError: If a value under a tensor's name is not a
            tensor.
        ValueError: If nothing of the file fits the model. Training would
            start from random weights, or a test would measure them.
    """
    _check_values(module, state_dict)
    if is_model_wrapper(module) or isinstance(module, BaseTTAModel):
        module = module.get_submodule('module')
    encoders = encoder_prefixes(module)
    if not encoders:
        _load_state_dict(module, state_dict, strict, logger)
        return
    report = LoadReport(f'Loaded into {type(module).__name__}')

    def read(_: nn.Module, incompatible: Any) -> None:
        report.missing.extend(incompatible.missing_keys)
        report.unexpected.extend(incompatible.unexpected_keys)

    handle = module.register_load_state_dict_post_hook(read)
    try:
        with collect_notes(report):
            # Silent, because the report has what mmengine would print.
            _load_state_dict(module, state_dict, strict, 'silent')
    finally:
        handle.remove()
    _classify(report, state_dict, module.state_dict())
    require_encoder_weights(report, encoders)
    level = logging.INFO if report.complete else logging.WARNING
    print_log(str(report), logger=logger or 'current', level=level)


def _check_values(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Check that the module gets tensors only; other keys are ignored."""
    own = module.state_dict()
    taken = {k: v for k, v in state_dict.items() if k in own}
    if taken or any(isinstance(v, Tensor) for v in state_dict.values()):
        check_tensors(taken, 'the file')
    else:
        check_tensors(state_dict, 'the file', bare=True)


def register_reported_load() -> None:
    """Make every load of mmengine use `load_state_dict` of this module.

    mmengine has no registration for it. Runners, ``load_checkpoint``,
    ``Pretrained`` and ``EMAHook`` look the function up by its name.
    """
    mmengine_checkpoint.load_state_dict = load_state_dict


def encoder_prefixes(module: nn.Module) -> list[str]:
    """Return the key prefixes of all CAE encoders in a module."""
    return [
        name + '.' if name else ''
        for name, part in module.named_modules()
        if isinstance(part, ReportedLoad)
    ]


def _classify(
    report: LoadReport,
    given: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
) -> None:
    """Classify the keys that no hook has reported."""
    # Old files lack the step counters of batch norms. Like mmengine, do not
    # report them.
    expected = {
        name: value
        for name, value in expected.items()
        if name in given or not name.endswith('.num_batches_tracked')
    }
    report.given, report.expected = list(given), list(expected)
    report.missing = [name for name in report.missing if name in expected]
    origin = {new: old for old, new in report.renamed}
    derived, resized = set(report.derived), report.resized
    report.derived, report.resized = [], {}
    for name, value in expected.items():
        wanted, old = tuple(value.shape), origin.get(name, name)
        if name in report.missing:
            continue
        if old not in given:
            report.derived.append(name)
            continue
        found = tuple(given[old].shape)
        if resized.get(name, (found, found))[1] == wanted:
            if name in resized:
                report.resized[name] = resized[name]
            elif old == name:
                report.matched.append(name)
        elif name in derived:
            report.derived.append(name)
        else:
            report.misfit[name] = found, wanted
    report.renamed = [
        (old, new) for old, new in report.renamed if new not in report.misfit
    ]
    # Keys that a pre-hook removed on purpose (e.g. `teacher.*`).
    kept = {*expected, *report.unexpected, *origin.values()}
    report.dropped = [name for name in given if name not in kept]


def require_encoder_weights(report: LoadReport, encoders: list[str]) -> None:
    """Require that the load gave weights to an encoder.

    If only other parts of the model got weights, this is a warning.

    Args:
        report: The report of the load.
        encoders: Key prefixes of the encoders of the model.

    Raises:
        ValueError: If no tensor of the model was loaded, or only tensors
            that every ViT has.
    """
    unused = {*report.missing, *report.misfit, *report.derived}
    loaded = [name for name in report.expected if name not in unused]
    blocks = tuple(f'{prefix}layers.' for prefix in encoders)
    if any(name.startswith(blocks) for name in loaded):
        return
    wanted = [name for name in report.expected if name.startswith(blocks)]
    message = (
        'nothing of the encoder was loaded. The file has names like '
        f'{_example(report.given)}; this model has names like '
        f'{_example(wanted)}.{_advice(report, encoders)}'
    )
    common = {
        f'{prefix}{name}' for prefix in encoders for name in _KEYS_OF_EVERY_VIT
    }
    if set(loaded) <= common:
        raise ValueError(f'{report.title}: {message}\n{report}')
    print_log(
        f'{report.title}: {message}', logger='current', level=logging.WARNING
    )


def _example(names: list[str]) -> str:
    return ', '.join(summarize_keys(names)[:2]) or '(none at all)'


def _advice(report: LoadReport, encoders: list[str]) -> str:
    if report.misfit:
        return ' Shapes differ: is it an encoder of another size?'
    found = next((k for k in report.given if k.endswith(_ENCODER_KEY)), None)
    if found is None:
        return ' Is it a checkpoint of another model?'
    prefix = found.removesuffix(_ENCODER_KEY)
    where = 'init_cfg' if encoders == [''] else "the backbone's init_cfg"
    given = f', prefix={printable(prefix)!r}' if prefix else ''
    return f" Give {where}: dict(type='Pretrained', checkpoint=...{given})."


# The old name; it works until mmcae 0.2.
check_not_in_vain = require_encoder_weights
