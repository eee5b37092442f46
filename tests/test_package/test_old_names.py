# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Public names that changed still work for one release, with a warning."""

from importlib import import_module

import pytest

from mmcae.utils.old_names import old_names

#: (module, old name, name of today).
RENAMED: list[tuple[str, str, str]] = [
    ('mmcae.engine.optimizers.optim_wrapper', 'ClipInStep', 'SafeStep'),
    ('mmcae.engine.hooks.progress_hook', 'duration', 'duration_text'),
    ('mmcae.evaluation', 'standardise', 'standardize'),
    ('mmcae.models.backbones.cae_pretrain_vit', 'Embedded', 'PatchEmbedding'),
    ('mmcae.models.layers', 'check_family', 'check_weight_init'),
    ('mmcae.models.layers', 'spread_bias_table', 'extend_bias_table'),
    (
        'mmcae.models.layers.relative_position',
        'resize_bias_table',
        'interpolate_bias_table',
    ),
    (
        'mmcae.models.layers.relative_position',
        'spread_bias_table',
        'extend_bias_table',
    ),
    (
        'mmcae.models.target_generators.common',
        'select_places',
        'select_patches',
    ),
]


def test_old_names__give_the_object_of_today():
    lookup = old_names(__name__, {'OLD': 'RENAMED'})
    with pytest.warns(DeprecationWarning, match=r'OLD is now called RENAMED'):
        assert lookup('OLD') is RENAMED


def test_old_names__refuse_other_names():
    lookup = old_names(__name__, {'OLD': 'RENAMED'})
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        lookup('other')


def test_old_names__work_where_they_were(subtests):
    for module, old, new in RENAMED:
        with subtests.test(module=module, name=old):
            found = import_module(module)
            with pytest.warns(DeprecationWarning, match=new):
                assert getattr(found, old) is getattr(found, new)
