# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Features of patches, their components, and what is built on them."""

import numpy as np
import pytest
import torch
from helpers.tiny_checkpoint import CONFIG
from sklearn.decomposition import PCA

from mmcae.apis.image_views import prepare, view_maker
from mmcae.apis.loading import load_model
from mmcae.apis.neighbors import nearest_images
from mmcae.apis.patch_features import (
    encode_images,
    encode_tokens,
    pca_colors,
    principal_components,
)
from mmcae.apis.projection import project_to_plane
from mmcae.datasets.transforms.load_image import UnreadableImageError
from mmcae.models import CAEViT

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture(scope='module')
def loaded():
    return load_model('random', config=CONFIG, with_tokenizer=False)


def test_encode_images__gives_the_models_features(loaded, tmp_path):
    maker = view_maker(loaded)
    counts = []
    found = list(
        encode_images(loaded, IMAGES, maker, 2, progress=counts.append)
    )
    assert counts == [2, 2, 1]
    inputs = prepare(loaded, [maker.views(image) for image in IMAGES])[0]
    with torch.no_grad():
        tokens = loaded.model.eval().extract_feat(inputs)[-1].numpy()
    for item, row in zip(found, tokens, strict=True):
        np.testing.assert_allclose(
            item.patches, row[1:].reshape(4, 4, -1), atol=1e-5
        )
        np.testing.assert_allclose(item.pooled('cls'), row[0], atol=1e-5)
        np.testing.assert_allclose(item.pooled(), row[1:].mean(0), atol=1e-5)
    with pytest.raises(ValueError, match="got 'max'"):
        found[0].pooled('max')
    bad = tmp_path / 'bad.png'
    bad.write_text('text')
    skipped = []
    assert len(list(encode_images(loaded, [bad], maker, 2, None, skipped))) < 1
    assert 'bad.png' in skipped[0]
    with pytest.raises(UnreadableImageError):
        list(encode_images(loaded, [bad], maker))


@pytest.mark.parametrize('out_type', ['avg_featmap', 'raw', 'featmap'])
def test_encode_tokens__works_for_all_output_types(out_type):
    arch = dict(
        embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64
    )
    torch.manual_seed(0)
    encoder = CAEViT(arch, 32, patch_size=8, out_type=out_type).eval()
    raw = CAEViT(arch, 32, patch_size=8, out_type='raw').eval()
    raw.load_state_dict(encoder.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = raw(images)[0]
    torch.testing.assert_close(encode_tokens(encoder, images), expected)


def test_principal_components__are_sklearns():
    rows = RNG.normal(size=(60, 10)) * np.arange(1, 11)
    scores, components, explained = principal_components(rows, 3)
    reference = PCA(3).fit(rows)
    signs = np.sign((components * reference.components_).sum(1))
    np.testing.assert_allclose(
        components, reference.components_ * signs[:, None], atol=1e-8
    )
    np.testing.assert_allclose(
        scores, reference.transform(rows) * signs, atol=1e-8
    )
    np.testing.assert_allclose(
        explained, reference.explained_variance_ratio_, atol=1e-10
    )


def test_pca_colors__are_common_to_all_images():
    """The same feature has the same color in every image."""
    features = RNG.normal(size=(3, 4, 5, 16))
    features[2, 3, 4] = features[0, 0, 0]
    found = pca_colors(features)
    assert found.colors.shape == (3, 4, 5, 3)
    assert found.foreground.all()
    np.testing.assert_allclose(found.colors[2, 3, 4], found.colors[0, 0, 0])
    assert 0 <= found.colors.min() <= found.colors.max() <= 1
    with pytest.raises(ValueError, match='2 patches are too few'):
        pca_colors(RNG.normal(size=(2, 1, 1, 4)))


@pytest.mark.parametrize('sign', [1, -1])
def test_pca_colors__select_the_foreground_inside(sign):
    inside = np.zeros((2, 6, 6), dtype=bool)
    inside[:, 2:5, 1:4] = True
    features = 0.1 * RNG.normal(size=(2, 6, 6, 8))
    features[..., 0] += sign * 5 * inside
    found = pca_colors(features, foreground=True)
    np.testing.assert_array_equal(found.foreground, inside)
    assert np.isnan(found.colors[~inside]).all()
    assert np.isfinite(found.colors[inside]).all()


def test_nearest_images__are_those_of_brute_force():
    queries, features = RNG.normal(size=(4, 6)), RNG.normal(size=(30, 6))
    order, cosines = nearest_images(queries, features, 5)
    for query, found, values in zip(queries, order, cosines, strict=True):
        brute = [
            query @ row / np.linalg.norm(query) / np.linalg.norm(row)
            for row in features
        ]
        expected = sorted(range(30), key=lambda i: -brute[i])[:5]
        assert found.tolist() == expected
        np.testing.assert_allclose(values, np.array(brute)[expected])
    assert nearest_images(queries, features[:2], 5)[0].shape == (4, 2)
    with pytest.raises(ValueError, match='5 neighbors among 0 images'):
        nearest_images(queries, features[:0], 5)


@pytest.mark.parametrize('method', ['tsne', 'pca'])
def test_project_to_plane__keeps_groups_apart(method):
    groups = np.arange(40) % 2
    features = RNG.normal(size=(40, 8)) + 20 * groups[:, None]
    points = project_to_plane(features, method)
    assert points.shape == (40, 2)
    assert points.min() == 0
    assert points.max() == 1
    centers = [points[groups == group].mean(0) for group in (0, 1)]
    own = np.array([centers[g] for g in groups])
    other = np.array([centers[1 - g] for g in groups])
    near = np.linalg.norm(points - own, axis=1)
    far = np.linalg.norm(points - other, axis=1)
    assert (near < far).all()
    np.testing.assert_array_equal(points, project_to_plane(features, method))


def test_project_to_plane__says_what_is_wrong(monkeypatch):
    with pytest.raises(ValueError, match='2 images are too few'):
        project_to_plane(np.ones((2, 3)))
    with pytest.raises(ValueError, match="got 'lle'"):
        project_to_plane(np.ones((5, 3)), 'lle')
    monkeypatch.setattr('mmcae.apis.projection.find_spec', lambda name: None)
    with pytest.raises(ValueError, match='pip install umap-learn'):
        project_to_plane(RNG.normal(size=(5, 3)), 'umap')
    assert len(project_to_plane(RNG.normal(size=(3, 4)))) == 3
