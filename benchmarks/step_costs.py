# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Count operations and bytes of a step, and compare them with a record.

    python benchmarks/step_costs.py             # compare
    python benchmarks/step_costs.py --update    # record them for this torch

Unlike times, these numbers do not depend on the load of the machine. The
record has one part for each tested version of torch, because another version
may split an operation in another way.

Three things are measured: a whole training step of the tiny CAE; the forward
pass of the CAE of base size with given tokens, per image, in float32 and with
bfloat16 autocast; and DALL-E's tokenizer with a sixteenth of its width. A test
fails when a number grows.
"""

import argparse
import copy
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample
from speed.activations import saved_bytes
from speed.batches import Batch, make_batch
from speed.counting import OpCounter, count
from speed.ours import Ours
from speed.sizes import Size, load_size

RECORD = Path(__file__).with_name('step_costs.json')
CPU = torch.device('cpu')


def measure_costs() -> dict[str, Any]:
    """Count everything.

    Returns:
        By name of what was measured: ``flops``, ``operations`` (by kind) and
        ``kept``, the bytes kept for the backward pass.
    """
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    return dict(_tiny_steps(), **_base_forward(), tokenizer=_tokenizer())


def torch_version() -> str:
    """Major and minor version of torch, the key in the record."""
    return '.'.join(torch.__version__.split('.')[:2])


def find_growth(recorded: Mapping, found: Mapping) -> list[str]:
    """Describe what costs more than recorded.

    Args:
        recorded: The record of this torch.
        found: What `measure_costs` has counted.

    Returns:
        One line for each number that has grown.
    """
    growth = []
    for name, before in recorded.items():
        now = found.get(name, {})
        for key in ('flops', 'kept'):
            if now.get(key, 0) > before.get(key, 0):
                growth.append(f'{name}: {key} {before[key]:,} -> {now[key]:,}')
        was, is_ = before.get('operations', {}), now.get('operations', {})
        total = sum(was.values()), sum(is_.values())
        if total[1] > total[0]:
            more = [
                f'{op} {was.get(op, 0)} -> {number}'
                for op, number in is_.items()
                if number > was.get(op, 0)
            ]
            growth.append(
                f'{name}: operations {total[0]} -> {total[1]} '
                f'({", ".join(more)})'
            )
    return growth


def _tiny_steps() -> dict[str, dict]:
    size = load_size('tiny')
    found = {}
    for precision in ('fp32', 'bf16'):
        ours, batch = Ours(size, precision, CPU), make_batch(size, 2, CPU)
        ours.step(batch)  # AdamW makes its moments in the first step
        kept = saved_bytes(lambda o=ours, b=batch: o.loss(b), ours.weights())
        counter = count(lambda o=ours, b=batch: o.step(b))
        found[f'tiny step, {precision}'] = _summary(counter, kept)
    return found


def _base_forward() -> dict[str, dict]:
    size = load_size('base')
    cfg = copy.deepcopy(size.model)
    cfg.target_generator = None
    with torch.device('meta'):
        model: Any = MODELS.build(cfg)
    # Zeros cost the same as random weights, and take no time to draw.
    model.to_empty(device='cpu').train()
    for parameter in model.parameters():
        parameter.data.zero_()
    found = {}
    for precision, half in (('fp32', False), ('bf16', True)):
        kept, counters = [], []
        for batch_size in (1, 2):
            arguments = _given_tokens(size, batch_size)
            weights = [p for p in model.parameters() if p.requires_grad]

            def loss(arguments: dict = arguments, half: bool = half) -> Any:
                with torch.autocast('cpu', torch.bfloat16, enabled=half):
                    return model.loss(**arguments)['loss']

            with OpCounter() as counter:
                kept.append(saved_bytes(loss, weights))
            counters.append(counter)
        # The difference is the cost of one image, without weights in half
        # precision, which do not grow with the batch.
        found[f'base forward of an image, {precision}'] = dict(
            flops=counters[1].total - counters[0].total,
            kept=kept[1] - kept[0],
            operations=_sorted(counters[0]),
        )
    return found


def _given_tokens(size: Size, batch_size: int) -> dict[str, Any]:
    batch = make_batch(size, batch_size, CPU)
    samples = [
        DataSample(mask=mask, tokens=tokens.numpy())
        for mask, tokens in zip(batch.mask, batch.tokens, strict=True)
    ]
    inputs = [batch.images, batch.token_images[:0]]
    return dict(inputs=inputs, data_samples=samples)


def _tokenizer() -> dict:
    size = load_size('base')
    cfg = dict(size.model.target_generator, n_hid=16)
    tokenizer: Any = MODELS.build(cfg)
    batch: Batch = make_batch(size, 1, CPU)
    counter = count(
        lambda: tokenizer.tokenize(batch.token_images, mask=batch.mask)
    )
    return _summary(counter, 0)


def _summary(counter: OpCounter, kept: int) -> dict:
    return dict(flops=counter.total, kept=kept, operations=_sorted(counter))


def _sorted(counter: OpCounter) -> dict[str, int]:
    return dict(sorted(counter.ops.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--update', action='store_true', help='record what is counted'
    )
    parser.add_argument(
        '--record',
        type=Path,
        default=RECORD,
        help="file of the record (default: the repository's)",
    )
    args = parser.parse_args()
    costs, version = measure_costs(), torch_version()
    for name, row in costs.items():
        print(
            f'{name}: {row["flops"]:,} FLOPs, {row["kept"]:,} bytes kept, '
            f'{sum(row["operations"].values())} operations'
        )
    record = (
        json.loads(args.record.read_text()) if args.record.exists() else {}
    )
    if args.update:
        record = dict(sorted({**record, version: costs}.items()))
        args.record.write_text(json.dumps(record, indent=1) + '\n')
        print(f'wrote {args.record}, torch {version}')
        return
    if version not in record:
        sys.exit(
            f'no record of torch {version}, only of {", ".join(record)}: '
            'make one with --update'
        )
    growth = find_growth(record[version], costs)
    if growth:
        sys.exit('costs more than recorded:\n' + '\n'.join(growth))
    print('nothing has grown')


if __name__ == '__main__':
    main()
