# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmpretrain's look-ups know mmcae's names."""

import subprocess
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain import get_model, list_models
from mmpretrain.apis.model import ModelHub
from PIL import Image

import mmcae  # noqa: F401
from mmcae.config.search_path import resource_root

CAE_NAME = 'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'
FINETUNED_NAME = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'
TINY = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
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


def inference(model, **kwargs):
    image = np.zeros((64, 64, 3), np.uint8)
    return mmpretrain.inference_model(model, image, **kwargs)


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
        'import mmcae, mmcae.zoo.model_zoo as zoo\n'
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


def listed_models() -> dict[str, dict]:
    root = resource_root()
    index = yaml.safe_load((root / 'model-index.yml').read_text())
    return {
        model['Name']: model
        for entry in index['Import']
        for model in yaml.safe_load((root / entry).read_text())['Models']
    }


def test_get_model__gives_ours(subtests):
    """The sizes are tested with the numbers of the metafiles."""
    for name, entry in sorted(listed_models().items()):
        if 'transfer' in entry['Config']:
            continue
        with subtests.test(name):
            with torch.device('meta'):
                model = get_model(name)
            if type(model).__name__ == 'ImageClassifier':
                model = model.backbone
            assert type(model).__module__.startswith('mmcae.models')


def test_list_models__finds_by_prefix():
    names = list_models('cae*')
    assert CAE_NAME in names
    assert all(name.startswith('cae') for name in names)
    assert FINETUNED_NAME in list_models(task='Image Classification')


@pytest.mark.parametrize('look_up', [get_model, inference])
def test_weights__that_are_not_published_are_refused(look_up):
    """mmpretrain itself would warn and go on with random weights."""
    name = 'beit-large-p16_cae-pre_8xb64-coslr-50e_in1k'
    with pytest.raises(FileNotFoundError) as caught:
        look_up(name, pretrained=True)
    assert f"publishes no weights of '{name}'" in str(caught.value)
    assert "pretrained='PATH'" in str(caught.value)
    assert 'http' not in str(caught.value)


@pytest.mark.parametrize('name', [CAE_NAME, FINETUNED_NAME])
def test_weights__of_openmmlabs_model_of_that_name_are_named(name):
    with pytest.raises(FileNotFoundError, match=r'OpenMMLab.*https://.*pth'):
        get_model(name, pretrained=True)


@pytest.mark.slow
def test_weights__of_openmmlabs_model_of_that_name_fit():
    root = Path(mmpretrain.__file__).parent / '.mim/configs/cae/benchmarks'
    config = Config.fromfile(root / 'beit-base-p16_8xb128-coslr-100e_in1k.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = MODELS.build(config.model)
    get_model(FINETUNED_NAME).load_state_dict(theirs.state_dict())


def test_weights__a_path_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r'nowhere/x\.pth'):
        get_model(TINY, pretrained='nowhere/x.pth')


def test_get_model__suggests_the_nearest_name():
    with pytest.raises(ValueError, match=f"did you mean '{CAE_NAME}'"):
        get_model(CAE_NAME.replace('300e', '30e'))
    with pytest.raises(ValueError, match=r"no model 'q' in the zoo \("):
        get_model('q')


@pytest.mark.parametrize('built', [False, True])
def test_inference_model__a_pretraining_model_is_no_classifier(built):
    model = get_model(TINY) if built else TINY
    with pytest.raises(NotImplementedError, match=f"'{TINY}' has no results"):
        inference(model)


def test_inference_model__mmpretrains_models_keep_their_message():
    name = 'mae_vit-base-p16_8xb512-amp-coslr-300e_in1k'
    with pytest.raises(NotImplementedError, match='No available inferencer'):
        inference(name)


def test_inference_model__from_a_file_with_class_names(tmp_path, monkeypatch):
    assert list_models(FINETUNED_NAME)  # reads the index
    entry = ModelHub._models_dict[FINETUNED_NAME]
    config = Config.fromfile(entry.config)
    config.model.backbone.arch = dict(
        embed_dims=24,
        num_layers=2,
        num_heads=2,
        feedforward_channels=48,
    )
    config.model.head.update(in_channels=24, num_classes=2)
    config.dump(tmp_path / 'tiny.py')
    monkeypatch.setitem(entry.data, 'Config', str(tmp_path / 'tiny.py'))
    model = get_model(FINETUNED_NAME)
    torch.nn.init.constant_(model.head.fc.bias[1], 9.0)
    meta = dict(dataset_meta=dict(classes=['flower', 'temple']))
    path = tmp_path / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    result = mmpretrain.inference_model(
        FINETUNED_NAME,
        str(resource_root() / 'demo/demo.jpg'),
        pretrained=str(path),
        show_dir=str(tmp_path / 'pictures'),
    )
    assert result['pred_class'] == 'temple'
    assert result['pred_score'] > 0.9
    with Image.open(tmp_path / 'pictures/demo.png') as picture:
        assert picture.size == (480, 320)


HUB = f"""
import mmcae, sys
from mmengine.hub import get_config, get_model
from mmengine.registry import DefaultScope

for path in sys.argv[1:]:
    config = get_config(f'mmcae::{{path}}')
    assert config.filename.startswith({ROOT!r}), config.filename
    model = get_model(f'mmcae::{{path}}')
    assert type(model).__name__ == config.model.type.split('.')[-1]
    assert type(model.backbone).__module__.startswith('mmcae.models')
from mmcae.utils import register_all_modules
assert DefaultScope.get_current_instance() is None
register_all_modules(init_default_scope=False)
assert DefaultScope.get_current_instance() is None
register_all_modules()
assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'
"""


def test_hub__finds_and_builds_packaged_configs(tmp_path):
    probe = 'tiny-p8_cae-pre_1xb64-linear-coslr-30e_digits-32px'
    command = [sys.executable, '-c', HUB, f'cae/{TINY}.py']
    command += [f'cae/benchmarks/{probe}.py']
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
