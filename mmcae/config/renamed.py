# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Configs that were renamed: the old name works for one release."""

import re
import sys
import warnings

#: Old file name of a config, without ``.py``, and the name of today. Both are
#: also the names of the model in the zoo.
RENAMED_CONFIGS = {
    'cae-base-p16-1600e_mask-rcnn_16xb2-amp-12e_coco': (
        'mask-rcnn_beit-base-p16_cae-1600e-pre_16xb2-amp-12e_coco'
    ),
    'cae-base-p16-1600e_upernet_8xb2-amp-160k_ade20k-512x512': (
        'upernet_beit-base-p16_cae-1600e-pre_8xb2-amp-160k_ade20k-512x512'
    ),
    'cae-base-p16-300e_cascade-mask-rcnn_16xb2-amp-12e_coco': (
        'cascade-mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco'
    ),
    'cae-base-p16-300e_mask-rcnn_16xb2-amp-12e_coco': (
        'mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco'
    ),
    'cae-base-p16-300e_mask-rcnn_16xb2-amp-window14-12e_coco': (
        'mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-window14-12e_coco'
    ),
    'cae-base-p16-300e_upernet_8xb2-amp-160k_ade20k-512x512': (
        'upernet_beit-base-p16_cae-300e-pre_8xb2-amp-160k_ade20k-512x512'
    ),
    'cae-base-p16-800e_mask-rcnn_16xb2-amp-12e_coco': (
        'mask-rcnn_beit-base-p16_cae-800e-pre_16xb2-amp-12e_coco'
    ),
    'cae-base-p16-800e_upernet_8xb2-amp-160k_ade20k-512x512': (
        'upernet_beit-base-p16_cae-800e-pre_8xb2-amp-160k_ade20k-512x512'
    ),
    'cae-large-p16-1600e_mask-rcnn_16xb2-amp-12e_coco': (
        'mask-rcnn_beit-large-p16_cae-1600e-pre_16xb2-amp-12e_coco'
    ),
    'cae-large-p16-1600e_upernet_8xb2-amp-160k_ade20k-512x512': (
        'upernet_beit-large-p16_cae-1600e-pre_8xb2-amp-160k_ade20k-512x512'
    ),
    'cae-tiny-p8_mask-rcnn_1xb8-12e_tiny-coco-96px': (
        'mask-rcnn_tiny-p8_cae-pre_1xb8-12e_tiny-coco-96px'
    ),
    'cae-tiny-p8_upernet_1xb8-400i_tiny-ade-96px': (
        'upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px'
    ),
}

#: The same for files in ``_base_/models/``.
RENAMED_PARTS = {
    'cae-base-p16_upernet': 'upernet_beit-base-p16',
    'cae-base-p16_mask-rcnn': 'mask-rcnn_beit-base-p16',
    'cae-base-p16_cascade-mask-rcnn': 'cascade-mask-rcnn_beit-base-p16',
    'tiny-p8_digits-32px': 'classifier_tiny-p8_digits-32px',
    'tiny-p8_emoji-48px': 'classifier_tiny-p8_emoji-48px',
}


def current_name(name: str) -> str:
    """Replace the old name of a config by the name of today.

    An old name is answered with a ``DeprecationWarning``.

    Args:
        name: The name of a config or of a model in the zoo, a path, or
            ``package::path``; with or without ``.py``.

    Returns:
        The same with the new file name, or ``name`` if it is no old name.
    """
    file = re.split(r'[/\\:]', name)[-1]
    old = file.removesuffix('.py')
    new = {**RENAMED_CONFIGS, **RENAMED_PARTS}.get(old)
    if new is None:
        return name
    warnings.warn(
        f"the config '{old}' is now called '{new}'; the old name works until "
        'mmcae 0.2.',
        DeprecationWarning,
        stacklevel=_level_of_caller(),
    )
    return name.removesuffix(file) + file.replace(old, new)


def _level_of_caller() -> int:
    """The ``stacklevel`` of the first caller outside the libraries.

    Python shows a ``DeprecationWarning`` only if it points at a script, such
    as ``tools/train.py``.
    """
    level, frame = 2, sys._getframe(2)
    libraries = ('mmcae.', 'mmengine.', 'mmpretrain.')
    while frame.f_back and frame.f_globals['__name__'].startswith(libraries):
        level, frame = level + 1, frame.f_back
    return level
