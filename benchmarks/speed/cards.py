# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What batch a GPU takes, estimated from measured bytes."""

from collections.abc import Mapping

CARDS_GB = (24, 40, 80)
# Weight, gradient and two moments of AdamW in float32.
BYTES_PER_PARAMETER = 16
# CUDA's context and libraries, and what the allocator loses to fragments.
CONTEXT_BYTES = 1e9
LOST_SHARE = 0.1


def fixed_bytes(num_trained: int, num_frozen: int, copies: float = 0) -> float:
    """Bytes of a training that do not depend on the batch.

    Args:
        num_trained: Parameters that are trained.
        num_frozen: Others: tokenizer, position table, teacher.
        copies: Bytes of half-precision copies of the weights.
    """
    return BYTES_PER_PARAMETER * num_trained + 4 * num_frozen + copies


def largest_batch(
    card_bytes: float, fixed: float, per_image: float, multiple: int = 8
) -> int:
    """How many images fit, rounded down to a multiple; 0: none.

    Args:
        card_bytes: Memory of the GPU.
        fixed: See `fixed_bytes`.
        per_image: Bytes by which an image raises the peak.
        multiple: What the batch is a multiple of.
    """
    room = (card_bytes - CONTEXT_BYTES) * (1 - LOST_SHARE) - fixed
    return max(0, int(room / per_image) // multiple * multiple)


def cards_table(memory: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a row an implementation.

    Args:
        memory: For each ``fixed`` and ``live`` in bytes.
    """
    heads = [f'{card} GB' for card in CARDS_GB]
    rows = [
        '| estimate | fixed | per image | ' + ' | '.join(heads) + ' |',
        '|---' * (len(heads) + 3) + '|',
    ]
    for name, row in memory.items():
        cells = [f'{row["fixed"] / 1e9:.2f} GB']
        cells.append(f'{row["live"] / 1e6:.1f} MB')
        for card in CARDS_GB:
            batch = largest_batch(1e9 * card, row['fixed'], row['live'])
            cells.append(str(batch) if batch else 'less than 8')
        rows.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(rows) + '\n'
