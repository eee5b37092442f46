# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a checkpoint and an image to a reconstruction."""

import io
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_checkpoint import CONFIG, TOKENIZER, write_checkpoints
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from mmcae.apis import (
    attention_maps,
    encode_images,
    load_model,
    reconstruct,
    reconstruct_many,
)
from mmcae.apis.image_views import prepare, view_maker
from mmcae.apis.prediction import predict_masked
from mmcae.checkpoint.errors import UnreadableCheckpointError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
MASK = np.zeros((4, 4), dtype=bool)
MASK[1:3, :3] = True


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """The repository may have work dirs with other tokenizers."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    write_checkpoints(folder)
    return folder


@pytest.fixture(scope='module')
def checkpoint(root):
    return root / 'work_dirs' / CONFIG / 'epoch_80.pth'


@pytest.fixture(scope='module')
def loaded(checkpoint):
    return load_model(checkpoint)


@pytest.fixture(scope='module')
def result(loaded):
    return reconstruct(loaded, PIXELS, MASK)


def test_checkpoint__alone_is_enough(checkpoint, result):
    """The tokenizer is found beside the run, and the config is recorded."""
    again = reconstruct(checkpoint, Image.fromarray(PIXELS), MASK)
    np.testing.assert_array_equal(again.alignment, result.alignment)
    np.testing.assert_array_equal(again.picture, result.picture)
    assert not again.notes


def test_alignment__is_the_cosine_of_the_models_latents(loaded, result):
    maker = view_maker(loaded)
    images, _ = prepare(loaded, [maker.views(PIXELS)])
    mask = torch.from_numpy(MASK).flatten()[None]
    model = loaded.model.eval()
    with torch.no_grad():
        visible = model.backbone(images, mask)[:, 1:]
        pred = model.neck.regress(visible, mask, (4, 4))[0]
        target = model.neck.project(model.backbone(images, ~mask)[:, 1:])[0]
    cosine = [
        (p @ t / (p.norm() * t.norm())).item()
        for p, t in zip(pred, target, strict=True)
    ]
    np.testing.assert_allclose(result.alignment[MASK], cosine, atol=1e-5)
    assert np.isnan(result.alignment[~MASK]).all()
    assert result.alignment_mean == pytest.approx(np.mean(cosine), abs=1e-5)
    others = [
        F.cosine_similarity(pred[i], target[j], dim=0).item()
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    assert result.alignment_others == pytest.approx(np.mean(others), abs=1e-5)


def test_views__are_those_of_training(loaded, tmp_path):
    """The same pixels as from the pipeline of the recorded config."""
    Image.fromarray(PIXELS).save(tmp_path / 'image.png')
    config = loaded.config.train_dataloader.dataset
    from mmcae.registry import DATASETS

    dataset = DATASETS.build({**config, 'data_root': str(tmp_path)})
    expected = dataset[0]['inputs']
    views = view_maker(loaded).views(PIXELS)
    for view, wanted in zip(views, expected, strict=True):
        bgr = torch.from_numpy(view[..., ::-1].copy()).permute(2, 0, 1)
        assert torch.equal(bgr, wanted)


def test_tokens__are_the_models(loaded, result):
    images = prepare(loaded, [view_maker(loaded).views(PIXELS)])
    tokens = loaded.tokenizer.tokenize(images[1]).view(4, 4).numpy()
    np.testing.assert_array_equal(result.tokens, tokens)
    np.testing.assert_array_equal(result.predicted[~MASK], tokens[~MASK])
    np.testing.assert_array_equal(
        result.predicted[MASK], result.outputs.argmax(-1)
    )
    share = (result.predicted == tokens)[MASK].mean()
    assert result.token_accuracy == pytest.approx(share)
    hits = result.hits
    assert np.isnan(hits[~MASK]).all()
    assert hits[MASK].mean() == pytest.approx(share)


def test_pictures__show_what_they_say(result):
    pixels = MASK.repeat(8, 0).repeat(8, 1)
    assert result.image.shape == (32, 32, 3)
    np.testing.assert_array_equal(
        result.pasted[~pixels], result.image[~pixels]
    )
    np.testing.assert_array_equal(
        result.pasted[pixels], result.picture[pixels]
    )
    np.testing.assert_array_equal(result.seen[~pixels], result.image[~pixels])
    assert (result.seen[pixels] == result.seen[pixels][0]).all()
    titles = list(result.panels())
    assert titles[0] == 'image'
    assert titles[-1] == 'alignment'
    assert len(titles) == 7


def test_figure__is_saved_and_shown_in_notebooks(result, tmp_path):
    result.save(tmp_path / 'new' / 'figure.png')
    picture = Image.open(tmp_path / 'new' / 'figure.png')
    assert picture.size == Image.open(io.BytesIO(result._repr_png_())).size
    page = result._repr_html_()
    assert page.startswith('<img alt="6 of 16 patches masked, token acc')
    assert 'data:image/png;base64,' in page
    assert 'alignment' in repr(result)
    result.save(tmp_path / 'arrays.npz')
    with np.load(tmp_path / 'arrays.npz') as arrays:
        np.testing.assert_array_equal(arrays['mask'], MASK)
        assert 'picture' in arrays
    with pytest.raises(ValueError, match=r'must end in .*\.png'):
        result.save(tmp_path / 'figure.xyz')


def test_many__equals_one_by_one(loaded):
    images = [PIXELS, PIXELS[::-1].copy(), PIXELS[:20]]
    masks, seeds = [0.5, MASK, 0.3], [0, 1]
    counts = []
    many = list(
        reconstruct_many(
            loaded, images, masks, seeds, batch_size=4, progress=counts.append
        )
    )
    assert counts == [4, 4, 4, 3]
    expected = [
        reconstruct(loaded, image, mask, seed)
        for image in images
        for mask, seed in (
            (0.5, 0),
            (0.5, 1),
            (MASK, 0),
            (0.3, 0),
            (0.3, 1),
        )
    ]
    for found, single in zip(many, expected, strict=True):
        np.testing.assert_array_equal(found.mask, single.mask)
        np.testing.assert_allclose(
            found.alignment, single.alignment, atol=1e-5
        )
        np.testing.assert_array_equal(found.predicted, single.predicted)


def test_size__may_be_another_one(loaded):
    large = reconstruct(loaded, PIXELS, size=(32, 48))
    assert large.image.shape == (32, 48, 3)
    assert large.mask.shape == (4, 6)
    assert large.picture.shape == (32, 48, 3)
    with pytest.raises(ValueError, match='30x30 is not a multiple of the'):
        reconstruct(loaded, PIXELS, size=30)
    with pytest.raises(ValueError, match="got 'pad'"):
        reconstruct(loaded, PIXELS, fit='pad')


def test_fit__crops_or_stretches(loaded):
    maker = view_maker(loaded)
    assert maker.fit == 'stretch'  # the digits' pipeline resizes whole images
    assert maker.place(PIXELS).box == (0, 0, 40, 60)
    maker = view_maker(loaded, fit='crop')
    assert maker.place(PIXELS).box == (0, 10, 40, 40)
    assert maker.place(PIXELS.swapaxes(0, 1)).box == (10, 0, 40, 40)


def test_without_a_tokenizer__the_alignment_map_remains(
    checkpoint, result, tmp_path
):
    alone = shutil.copy(checkpoint, tmp_path / 'alone.pth')
    found = reconstruct(alone, PIXELS, MASK)
    np.testing.assert_array_equal(found.alignment, result.alignment)
    assert found.tokens is found.picture is found.pasted is None
    assert found.token_accuracy is None
    assert 'is not here; give the file' in found.notes[0]
    assert list(found.panels()) == ['image', 'visible', 'alignment']
    found.save(tmp_path / 'figure.png')
    given = reconstruct(
        alone, PIXELS, MASK, tokenizer=checkpoint.parents[2] / TOKENIZER
    )
    np.testing.assert_array_equal(given.picture, result.picture)


def test_tokenizer__of_another_run_is_passed_over(
    checkpoint, result, tmp_path
):
    write_checkpoints(tmp_path, seed=1)  # where the relative path leads
    found = reconstruct(checkpoint, PIXELS, MASK)
    np.testing.assert_array_equal(found.picture, result.picture)
    torch.save(dict(weight=torch.ones(2)), tmp_path / TOKENIZER)
    found = reconstruct(checkpoint, PIXELS, MASK)
    np.testing.assert_array_equal(found.picture, result.picture)


def test_another_tokenizer__is_not_used(checkpoint, tmp_path):
    other = write_checkpoints(tmp_path, seed=1).parents[2] / TOKENIZER
    found = reconstruct(checkpoint, PIXELS, MASK, tokenizer=other)
    assert found.tokens is None
    assert 'not the tokenizer that this checkpoint was' in found.notes[0]


def test_target_without_a_decoder__says_so(loaded, result):
    model = load_model('random', config=CONFIG, with_tokenizer=False).model
    model.load_state_dict(loaded.model.state_dict())
    model.target_generator = MODELS.build(
        dict(type='mmcae.DALLEEncoder', n_hid=8, vocab_size=64)
    )
    found = reconstruct(model, PIXELS, MASK)
    assert 'DALLEEncoder has no decoder' in found.notes[0]
    assert found.picture is None
    assert found.tokens.shape == (4, 4)
    assert found.hits is not None
    np.testing.assert_allclose(found.alignment, result.alignment, atol=1e-5)
    decoder = MODELS.build(
        dict(type='mmcae.DALLEDecoder', n_hid=8, n_init=4, vocab_size=64)
    )
    found = reconstruct(model, PIXELS, MASK, decoder=decoder)
    assert found.picture.shape == (32, 32, 3)


def test_model_in_memory__keeps_its_mode(loaded):
    loaded.model.train()
    reconstruct(loaded.model, PIXELS)
    assert loaded.model.training
    loaded.model.eval()


def test_predict_masked__has_no_others_with_one_masked_patch(loaded):
    images = torch.randn(1, 3, 32, 32)
    mask = torch.eye(16, dtype=torch.bool)[:1]
    found = predict_masked(loaded.model, images, mask)
    assert found.alignment.shape == (1, 1)
    assert found.others.isnan().all()
    assert found.tokens is None


def test_preprocessor__beside_the_model_is_used(checkpoint, result, tmp_path):
    """Many configs have it there, and mmengine's Runner moves it."""
    saved = torch.load(checkpoint)
    config = Config.fromstring(saved['meta']['cfg'], '.py')
    config.data_preprocessor = config.model.pop('data_preprocessor')
    saved['meta']['cfg'] = config.pretty_text
    path = tmp_path / 'beside.pth'
    torch.save(saved, path)
    found = reconstruct(path, PIXELS, MASK)
    np.testing.assert_array_equal(found.alignment, result.alignment)


def test_classifier__has_features_and_attention(tmp_path):
    loaded = load_model(
        'random', config='tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px'
    )
    maker = view_maker(loaded)
    (inputs,) = prepare(loaded, [maker.views(PIXELS)])
    view = torch.from_numpy(maker.views(PIXELS)[0].copy()).float()
    expected = (view - 76.5) / 89.25  # RGB, as in the config
    torch.testing.assert_close(inputs[0], expected.permute(2, 0, 1))
    (item,) = encode_images(loaded, [PIXELS], maker)
    assert item.patches.shape == (4, 4, 64)
    found = attention_maps(loaded.backbone, inputs)
    assert found.of_class_token().shape == (1, 4, 4)


def test_mistakes__are_one_sentence(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint nowhere'):
        reconstruct('nowhere.pth', PIXELS)
    with pytest.raises(ValueError, match="no model 'cae_giant'"):
        reconstruct('cae_giant', PIXELS)
    with pytest.raises(ValueError, match='give the checkpoint, and the conf'):
        reconstruct('x.py', PIXELS)
    weights = load_model(checkpoint).model.state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match='does not say how its model'):
        reconstruct(tmp_path / 'bare.pth', PIXELS)
    reconstruct(tmp_path / 'bare.pth', PIXELS, config=CONFIG)
    encoder = {k: v for k, v in weights.items() if 'backbone' in k}
    torch.save(dict(state_dict=encoder), tmp_path / 'encoder.pth')
    with pytest.raises(ValueError, match='not all weights of the regressor'):
        reconstruct(tmp_path / 'encoder.pth', PIXELS, config=CONFIG)
    with pytest.raises(ValueError, match='does not predict masked patches'):
        reconstruct(
            'random',
            PIXELS,
            config='tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px',
        )
    torch.save(
        dict(state_dict=weights, meta=dict(cfg="model=dict(type='os.abc')")),
        tmp_path / 'evil.pth',
    )
    with pytest.raises(UnreadableCheckpointError, match=r'os\.abc'):
        reconstruct(tmp_path / 'evil.pth', PIXELS)
