# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Each format, loaded as a user loads it, gives the original's outputs."""

import json
import warnings

import pytest
import torch
from helpers.recordings import relative_error
from helpers.trained import CLASSES, tiny_model, write_checkpoint
from safetensors import safe_open

from mmcae.checkpoint.reading import read_checkpoint, sha256_of
from mmcae.export import FORMATS, ExportError, export

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
ODD = torch.randn(1, 3, 70, 96, generator=torch.Generator().manual_seed(2))
NAMES = {
    'timm': 'folder',
    'transformers': 'folder',
    'torchscript': 'model.pt',
    'safetensors': 'model.safetensors',
    'mmpretrain': 'model.pth',
    'official': 'model.pth',
}


def logits_of(model, images=IMAGES):
    with torch.no_grad():
        return model(images)


def tokens_of(model, images=IMAGES):
    with torch.no_grad():
        return model.extract_feat(images)[-1]


def check_provenance(found, path, kind):
    """Compare the metadata of a file with its checkpoint."""
    found = {
        key: json.loads(value)
        if isinstance(value, str) and value[:1] in ('[', '{')
        else value
        for key, value in found.items()
    }
    assert found['source_sha256'] == sha256_of(path)
    assert found['recipe'] == f'tiny_{kind}'
    assert found['mmcae_version']
    assert found['normalization'] == dict(mean=[0.3] * 3, std=[0.35] * 3)
    assert found['input']['size'] == [64, 64]
    if kind != 'pretrain':
        assert found['classes'] == CLASSES


@pytest.mark.parametrize('kind', ['pretrain', 'finetune', 'attentive'])
def test_torchscript(kind, tmp_path):
    path, model = write_checkpoint(kind, tmp_path)
    done = export(path, 'torchscript', tmp_path / 'model.pt')
    assert done.comparison.worst < 1e-5
    extra = {'mmcae.json': ''}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        loaded = torch.jit.load(tmp_path / 'model.pt', _extra_files=extra)
    check_provenance(json.loads(extra['mmcae.json']), path, kind)
    for images in (IMAGES, ODD):
        if kind == 'pretrain':
            features, patches = loaded(images)
            tokens = tokens_of(model, images)
            assert relative_error(patches, tokens[:, 1:]) < 1e-5
            mean = tokens[:, 1:].mean(dim=1)
            assert relative_error(features, mean) < 1e-5
        else:
            (logits,) = loaded(images)
            assert relative_error(logits, logits_of(model, images)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'part'), [('finetune', 'classifier'), ('pretrain', 'dense')]
)
def test_torch_export(kind, part, tmp_path):
    path, model = write_checkpoint(kind, tmp_path)
    target = tmp_path / 'model.pt2'
    export(path, 'torch-export', target, part=part)
    extra = {'mmcae.json': ''}
    loaded = torch.export.load(target, extra_files=extra).module()
    check_provenance(json.loads(extra['mmcae.json']), path, kind)
    for images in (IMAGES, ODD):
        found = loaded(images)
        if part == 'classifier':
            expected = logits_of(model, images)
            assert relative_error(found[0], expected) < 1e-5
        else:
            rows, columns = -(-images.shape[2] // 16), images.shape[3] // 16
            shape = (len(images), 32, rows, columns)
            assert [value.shape for value in found] == [shape] * 2
            norm = model.backbone.ln1
            last = norm(found[-1].flatten(2).transpose(1, 2))
            tokens = tokens_of(model, images)
            assert relative_error(last, tokens[:, 1:]) < 1e-5


@pytest.mark.parametrize('name', ['folder', 'weights.safetensors'])
@pytest.mark.parametrize('kind', ['pretrain', 'finetune', 'linear'])
def test_timm(kind, name, tmp_path):
    timm = pytest.importorskip('timm')
    path, model = write_checkpoint(kind, tmp_path)
    target = tmp_path / name
    export(path, 'timm', target)
    if name == 'folder':
        loaded = timm.create_model(f'local-dir:{target}', pretrained=True)
        config = json.loads((target / 'config.json').read_text())
        check_provenance(config['mmcae'], path, kind)
        data = timm.data.resolve_model_data_config(loaded)
        assert tuple(data['mean']) == (0.3,) * 3
        assert tuple(data['std']) == (0.35,) * 3
        assert data['input_size'] == (3, 64, 64)
    else:
        from timm.models import load_checkpoint
        from timm.models.beit import Beit

        with safe_open(target, 'pt') as file:
            meta = file.metadata()
        check_provenance(meta, path, kind)
        loaded = Beit(**json.loads(meta['timm_args']))
        load_checkpoint(loaded, str(target))
    loaded.eval()
    with torch.no_grad():
        if kind == 'pretrain':
            found = loaded.forward_features(IMAGES)
            assert relative_error(found, tokens_of(model)) < 1e-5
        else:
            found = loaded(IMAGES)
            assert relative_error(found, logits_of(model)) < 1e-5


def test_timm__dense_maps_of_the_chosen_blocks(tmp_path):
    timm = pytest.importorskip('timm')
    path, model = write_checkpoint('pretrain', tmp_path)
    target = tmp_path / 'dense'
    export(path, 'timm', target, part='dense', out_indices=[0, 1])
    loaded = timm.create_model(f'local-dir:{target}', pretrained=True).eval()
    with torch.no_grad():
        maps = loaded.forward_intermediates(
            IMAGES, [0, 1], intermediates_only=True
        )
        last = model.backbone.ln1(maps[-1].flatten(2).transpose(1, 2))
    assert relative_error(last, tokens_of(model)[:, 1:]) < 1e-5


@pytest.mark.parametrize('kind', ['finetune', 'linear'])
def test_transformers__classifier(kind, tmp_path):
    transformers = pytest.importorskip('transformers')
    path, model = write_checkpoint(kind, tmp_path)
    target = tmp_path / 'folder'
    export(path, 'transformers', target)
    loaded = transformers.AutoModelForImageClassification.from_pretrained(
        target
    ).eval()
    with torch.no_grad():
        logits = loaded(IMAGES).logits
    assert relative_error(logits, logits_of(model)) < 1e-5
    assert loaded.config.id2label == dict(enumerate(CLASSES))
    check_provenance(loaded.config.mmcae, path, kind)
    processor = transformers.AutoImageProcessor.from_pretrained(target)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    pixels = processor(image, return_tensors='pt')['pixel_values'][0]
    expected = (image / 255 - 0.3) / 0.35
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


def test_transformers__encoder_and_backbone(tmp_path):
    transformers = pytest.importorskip('transformers')
    path, model = write_checkpoint('pretrain', tmp_path)
    export(path, 'transformers', tmp_path / 'encoder')
    loaded = transformers.AutoModel.from_pretrained(tmp_path / 'encoder')
    larger = torch.randn(1, 3, 96, 64)
    for images in (IMAGES, larger):
        with torch.no_grad():
            out = loaded.eval()(images)
        tokens = tokens_of(model, images)
        assert relative_error(out.last_hidden_state, tokens) < 1e-5
        assert relative_error(out.pooler_output, tokens[:, 0]) < 1e-5
    export(path, 'transformers', tmp_path / 'dense', part='dense')
    backbone = transformers.BeitBackbone.from_pretrained(tmp_path / 'dense')
    with torch.no_grad():
        maps = backbone.eval()(IMAGES).feature_maps
        last = model.backbone.ln1(maps[-1].flatten(2).transpose(1, 2))
    assert len(maps) == 2
    assert relative_error(last, tokens_of(model)[:, 1:]) < 1e-5


def test_transformers__files_need_no_transformers(tmp_path):
    path, _ = write_checkpoint('finetune', tmp_path)
    target = tmp_path / 'folder'
    done = export(path, 'transformers', target, check_outputs=False)
    assert done.comparison is None
    assert 'not compared' in str(done)
    names = {file.name for file in target.iterdir()}
    assert names == {
        'config.json',
        'model.safetensors',
        'preprocessor_config.json',
    }
    config = json.loads((target / 'config.json').read_text())
    assert config['mmcae']['compared_by'] == 'nothing'
    with safe_open(target / 'model.safetensors', 'pt') as file:
        keys = set(file.keys())
        check_provenance(file.metadata(), path, 'finetune')
    layer = 'beit.encoder.layer.0.attention.attention'
    assert f'{layer}.query.bias' in keys
    assert f'{layer}.key.bias' not in keys


@pytest.mark.parametrize('bias', ['qv_bias', True, False])
def test_transformers_and_timm__all_kinds_of_biases(bias, tmp_path):
    pytest.importorskip('timm')
    model = tiny_model('finetune', bias=bias)
    export(model, 'timm', tmp_path / 'timm')
    pytest.importorskip('transformers')
    export(model, 'transformers', tmp_path / 'hf')


@pytest.mark.parametrize('kind', ['pretrain', 'finetune', 'linear'])
@pytest.mark.parametrize('to', ['mmpretrain', 'safetensors', 'official'])
def test_weights(to, kind, tmp_path):
    path, model = write_checkpoint(kind, tmp_path)
    target = tmp_path / ('out_' + NAMES[to])
    done = export(path, to, target)
    assert done.comparison.worst < 1e-5
    check_provenance(read_checkpoint(target)['meta'], path, kind)
    # The written file is a checkpoint as well.
    again = export(target, 'torchscript', tmp_path / 'b.pt', num_heads=4)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = torch.jit.load(again.path)(IMAGES)
    if kind != 'pretrain':
        assert relative_error(found[0], logits_of(model)) < 1e-5
    elif to != 'mmpretrain':  # there, the norm follows the pooling
        assert relative_error(found[1], tokens_of(model)[:, 1:]) < 1e-5


def test_safetensors__keeps_what_tensors_do_not_show(tmp_path):
    path, model = write_checkpoint(
        'attentive', tmp_path, window_size=3, global_indices=[1]
    )
    target = tmp_path / 'out.safetensors'
    export(path, 'safetensors', target)
    again = export(target, 'torchscript', tmp_path / 'b.pt')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        (logits,) = torch.jit.load(again.path)(IMAGES)
    assert relative_error(logits, logits_of(model)) < 1e-5
    assert again.metadata['classes'] == CLASSES


#: The other two formats take seconds, and run through the same lines.
QUICK = sorted(set(FORMATS) - {'onnx', 'torch-export'})


@pytest.mark.parametrize('to', QUICK)
def test_refused__a_difference_leaves_no_file(to, tmp_path):
    if to in ('timm', 'transformers'):
        pytest.importorskip(to)
    path, _ = write_checkpoint('finetune', tmp_path)
    folder = tmp_path / 'out'
    with pytest.raises(ExportError, match='no file is kept'):
        export(path, to, folder / NAMES[to], tolerance=-1.0)
    assert list(folder.iterdir()) == []


def test_refused__a_wrong_tensor_is_noticed(tmp_path, monkeypatch):
    pytest.importorskip('timm')
    from mmcae.export import timm_format

    convert = timm_format.convert_to_timm

    def wrong(*args):
        state, arguments = convert(*args)
        state['blocks.1.norm2.bias'] = 1 + state['blocks.1.norm2.bias']
        return state, arguments

    monkeypatch.setattr(timm_format, 'convert_to_timm', wrong)
    path, _ = write_checkpoint('pretrain', tmp_path)
    with pytest.raises(ExportError, match='does not compute what'):
        export(path, 'timm', tmp_path / 'folder')
    assert not (tmp_path / 'folder').exists()


REFUSALS = {
    'to': ({'to': 'caffe'}, 'none of timm, transformers'),
    'suffix': ({'out': 'model.txt'}, r'must end in \.pt '),
    'precision': ({'precision': 'int8'}, 'torchscript holds float32'),
    'pool': ({'pool': 'max', 'part': 'encoder'}, "pool='max'"),
    'pool_of_dense': ({'pool': 'cls', 'part': 'dense'}, "part='encoder'"),
    'blocks': ({'part': 'dense', 'out_indices': [9]}, 'no block 9'),
    'blocks_of_encoder': ({'out_indices': [0]}, "part='dense'"),
    'size': (
        {'to': 'mmpretrain', 'out': 'a.pth', 'dynamic_size': True},
        'for one size',
    ),
    'timm_mean': ({'to': 'timm', 'out': 'a', 'pool': 'mean'}, "pool='cls'"),
}


@pytest.mark.parametrize('case', REFUSALS)
def test_refused__arguments(case, tmp_path):
    if case == 'timm_mean':
        pytest.importorskip('timm')
    options, message = REFUSALS[case]
    path, _ = write_checkpoint('pretrain', tmp_path)
    options = {'to': 'torchscript', 'out': 'model.pt', **options}
    out = tmp_path / 'out' / options.pop('out')
    with pytest.raises(ValueError, match=message):
        export(path, options.pop('to'), out, **options)
    assert not out.exists()


def test_refused__probes_and_windows_that_a_library_lacks(tmp_path):
    pytest.importorskip('timm')
    path, _ = write_checkpoint('attentive', tmp_path)
    with pytest.raises(ValueError, match='no model for an attentive probe'):
        export(path, 'timm', tmp_path / 'timm')
    model = tiny_model('finetune', window_size=3, global_indices=[1])
    with pytest.raises(ExportError, match='attends in windows'):
        export(model, 'mmpretrain', tmp_path / 'model.pth')


def test_refused__a_library_that_is_missing(tmp_path, monkeypatch):
    from mmcae.export import timm_format

    monkeypatch.setattr(
        timm_format, 'runtime', lambda: version_of('no-such-package')
    )
    from mmcae.export.comparison import version_of

    path, _ = write_checkpoint('pretrain', tmp_path)
    with pytest.raises(ExportError, match=r'pip install .mmcae\[export\]'):
        export(path, 'timm', tmp_path / 'timm')
