# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""``type='mmcae.X'`` is found from every package, in a fresh process."""

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    'package',
    [
        'mmpretrain',
        pytest.param('mmseg', marks=pytest.mark.slow),
        pytest.param('mmdet', marks=pytest.mark.slow),
        pytest.param('mmengine', marks=pytest.mark.slow),
    ],
)
def test_scope__resolves_without_custom_imports(package, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    # mmdet.models needs compiled ops; its registries do not.
    code = (
        'import sys\n'
        f'from {package}.registry import MODELS, TRANSFORMS, HOOKS\n'
        "assert 'mmcae' not in sys.modules\n"
        'found = []\n'
        "for name in ('CAE', 'CAEPretrainViT', 'CAENeck', 'CAELoss'):\n"
        '    MODELS.import_from_location = lambda: None\n'
        "    found.append(MODELS.get('mmcae.' + name).__module__)\n"
        "loss = MODELS.build(dict(type='mmcae.CAELoss', lambd=3.0))\n"
        'assert loss.lambd == 3.0\n'
        'assert all(item.startswith("mmcae.models") for item in found)\n'
        'TRANSFORMS.import_from_location = lambda: None\n'
        "mask = TRANSFORMS.get('mmcae.BlockMaskGenerator')\n"
        'assert mask.__module__.startswith("mmcae.datasets"), mask\n'
        'assert "mmcae" in sys.modules\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
