# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmpretrain's look-ups know mmcae's names."""

import subprocess
import sys

import pytest
import yaml

from mmcae.utils.paths import resource_root

CAE_NAME = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'
FINETUNED_NAME = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'
ROOT = str(resource_root())

CHECK = f"""
import mmpretrain
names = mmpretrain.list_models()
assert len(names) == len(set(names)) and len(names) > 300, len(names)
assert {CAE_NAME!r} in names and {FINETUNED_NAME!r} in names
assert 'resnet50_8xb32_in1k' in names
from mmpretrain.apis.model import ModelHub
config = ModelHub._models_dict[{CAE_NAME!r}].config
assert config.startswith({ROOT!r}), config
assert mmpretrain.list_models('resnet18_8xb32*') == ['resnet18_8xb32_in1k']
assert ModelHub.get('resnet18_8xb32_in1k').config.model.backbone.depth == 18
"""


def run_python(code: str, cwd) -> str:
    result = subprocess.run(
        [sys.executable, '-W', 'error::RuntimeWarning', '-c', code],
        capture_output=True,
        text=True,
        cwd=cwd,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    'start',
    [
        pytest.param(
            'import mmcae; import importlib; importlib.reload(mmcae)',
            marks=pytest.mark.slow,
        ),
        'import mmpretrain; mmpretrain.list_models(); import mmcae',
        pytest.param('import mmcae', marks=pytest.mark.slow),
        pytest.param(
            'import mmpretrain; import mmcae', marks=pytest.mark.slow
        ),
    ],
)
def test_register_zoo__in_any_order(start, tmp_path):
    run_python(start + CHECK, tmp_path)


def test_import__is_light(tmp_path):
    code = (
        'import sys, mmcae\n'
        "heavy = ['mmpretrain.models', 'mmpretrain.datasets', 'mmcae.models',"
        " 'mmcae.datasets', 'torchvision', 'sklearn', 'mmseg', 'mmdet']\n"
        'print([name for name in heavy if name in sys.modules])\n'
    )
    assert run_python(code, tmp_path).strip() == '[]'


@pytest.mark.slow
def test_register_zoo__broken_index_leaves_mmpretrain_working(tmp_path):
    code = (
        'import warnings\n'
        'import mmcae, mmcae.apis.zoo as zoo\n'
        'def missing(): raise FileNotFoundError("no model-index.yml")\n'
        'zoo.resource_root = missing\n'
        'import mmpretrain\n'
        'with warnings.catch_warnings(record=True) as caught:\n'
        '    warnings.simplefilter("always")\n'
        '    assert "resnet50_8xb32_in1k" in mmpretrain.list_models()\n'
        '    mmpretrain.list_models()\n'
        'texts = [str(item.message) for item in caught]\n'
        'print(sum("missing from the model zoo" in text for text in texts))\n'
    )
    assert run_python(code, tmp_path).strip() == '1'


def test_model_index__names_configs_and_metafiles_agree():
    root = resource_root()
    index = yaml.safe_load((root / 'model-index.yml').read_text())
    names = []
    for entry in index['Import']:
        meta = yaml.safe_load((root / entry).read_text())
        collections = {item['Name'] for item in meta.get('Collections', [])}
        for model in meta['Models']:
            names.append(model['Name'])
            config = root / model['Config']
            assert config.is_file(), config
            assert config.stem == model['Name']
            assert model['In Collection'] in collections
    assert CAE_NAME in names
    assert len(names) == len(set(names))
    assert names == [name.lower() for name in names]


def listed_models() -> dict[str, dict]:
    root = resource_root()
    index = yaml.safe_load((root / 'model-index.yml').read_text())
    return {
        model['Name']: model
        for entry in index['Import']
        for model in yaml.safe_load((root / entry).read_text())['Models']
    }


@pytest.mark.parametrize('name', sorted(listed_models()))
def test_get_model__gives_ours_with_the_listed_parameters(name):
    import torch
    from mmpretrain import get_model

    import mmcae  # noqa: F401

    with torch.device('meta'):
        model = get_model(name)
    listed = listed_models()[name]['Metadata']['Parameters']
    trainable = sum(
        item.numel() for item in model.parameters() if item.requires_grad
    )
    if type(model).__name__ in ('ImageClassifier', 'EncoderDecoder'):
        # Of whole tasks, all parameters count, as in mmpretrain's index.
        assert type(model.backbone).__module__.startswith('mmcae.models')
        assert sum(item.numel() for item in model.parameters()) == listed
        return
    assert type(model).__module__.startswith('mmcae.models')
    assert trainable == listed
    if name == CAE_NAME:
        assert trainable == 148_681_472
