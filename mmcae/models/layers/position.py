# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Fixed sine-cosine positions (CAE section 3; MoCo v3's channel order)."""

import torch
from torch import Tensor


def sincos_position(
    grid: tuple[int, int],
    embed_dims: int,
    num_extra_tokens: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """Build the frozen two-dimensional sine-cosine position table.

    The patch in row ``i`` and column ``j`` gets the four equal chunks
    ``[sin(i w), cos(i w), sin(j w), cos(j w)]``: the row comes first, unlike
    in MAE. The tokens are row-major on every grid (the authors' construction
    transposes grids that are not square).

    Args:
        grid: Rows and columns of the patch grid.
        embed_dims: Width ``D``, a multiple of four.
        num_extra_tokens: Rows of zeros to put in front (class token).
        device: Device of the table. Defaults to PyTorch's default device.

    Returns:
        A float32 table, ``(1, num_extra_tokens + rows * columns, D)``.

    Raises:
        ValueError: If ``embed_dims`` is not a multiple of four.
    """
    if embed_dims % 4:
        raise ValueError(
            'sine-cosine positions need a width that is a multiple of 4, '
            f'got embed_dims={embed_dims}'
        )
    quarter = embed_dims // 4
    kind: dict = dict(dtype=torch.float32, device=device)
    omega = torch.arange(quarter, **kind) / quarter
    omega = 1.0 / (10000**omega)
    rows, columns = (torch.arange(n, **kind) for n in grid)
    i = (rows[:, None] * omega).repeat_interleave(grid[1], dim=0)
    j = (columns[:, None] * omega).repeat(grid[0], 1)
    table = torch.cat([i.sin(), i.cos(), j.sin(), j.cos()], dim=1)
    extra = table.new_zeros(num_extra_tokens, embed_dims)
    return torch.cat([extra, table])[None]
