# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Estimate the largest batch of a GPU from measured bytes."""

from collections.abc import Mapping

CARDS_GB = (24, 40, 80)
# Weight, gradient and AdamW's two moments, all in float32.
BYTES_PER_PARAMETER = 16
# Memory for CUDA's context and libraries, and the share of the rest that the
# allocator loses to fragmentation.
CONTEXT_BYTES = 1e9
LOST_SHARE = 0.1


def fixed_bytes(num_trained: int, num_frozen: int, copies: float = 0) -> float:
    """Bytes that training needs at any batch size.

    Args:
        num_trained: Number of trained parameters.
        num_frozen: Number of other parameters: tokenizer, position table and
            teacher.
        copies: Bytes of the weights' copies in half precision.
    """
    return BYTES_PER_PARAMETER * num_trained + 4 * num_frozen + copies


def largest_batch(
    card_bytes: float, fixed: float, per_image: float, multiple: int = 8
) -> int:
    """Estimate how many images fit.

    Args:
        card_bytes: Memory of the GPU.
        fixed: See `fixed_bytes`.
        per_image: Bytes by which one more image raises the peak.
        multiple: The result is rounded down to a multiple of this.

    Returns:
        The batch size; 0 if no batch fits.
    """
    room = (card_bytes - CONTEXT_BYTES) * (1 - LOST_SHARE) - fixed
    return max(0, int(room / per_image) // multiple * multiple)


def cards_table(memory: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table: one row per implementation.

    Args:
        memory: By implementation: ``fixed`` and ``live``, in bytes.
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
