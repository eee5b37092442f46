# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Arguments of a `CAEViT` that have no meaning, alone or together."""

OUT_TYPES = ('raw', 'cls_token', 'featmap', 'avg_featmap')
FINAL_NORMS = (False, True, 'every')


def check_arguments(
    out_type: str,
    final_norm: bool | str,
    with_cls_token: bool,
    use_rel_pos_bias: bool,
    use_shared_rel_pos_bias: bool,
    window_size: tuple[int, int] | None,
) -> None:
    """Check arguments of `CAEViT` of the same names.

    Raises:
        ValueError: If one has no meaning; the message names it.
    """
    if out_type not in OUT_TYPES:
        raise ValueError(
            f'out_type must be one of {OUT_TYPES}, got {out_type!r}'
        )
    if final_norm not in FINAL_NORMS:
        raise ValueError(
            f'final_norm must be one of {FINAL_NORMS}, got {final_norm!r}'
        )
    if out_type == 'cls_token' and not with_cls_token:
        raise ValueError("out_type='cls_token' needs with_cls_token=True")
    if use_rel_pos_bias and use_shared_rel_pos_bias:
        raise ValueError('use_rel_pos_bias and its shared form: not both')
    if not with_cls_token and (use_rel_pos_bias or use_shared_rel_pos_bias):
        raise ValueError('relative position bias needs a class token')
    if window_size is None:
        return
    if min(window_size) < 1:
        raise ValueError(
            f'window_size must be positive or None, got {window_size}'
        )
    if use_shared_rel_pos_bias:
        raise ValueError(
            'blocks with windows and blocks without cannot share a bias: set '
            'use_rel_pos_bias instead of use_shared_rel_pos_bias'
        )
