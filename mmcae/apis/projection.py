# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Features as points in the plane, for a picture."""

from importlib.util import find_spec

import numpy as np

METHODS = ('tsne', 'umap', 'pca')


def project_to_plane(
    features: np.ndarray, method: str = 'tsne', seed: int = 0
) -> np.ndarray:
    """Place similar features near each other.

    Args:
        features: ``(N, D)``.
        method: ``'tsne'`` or ``'pca'`` (scikit-learn), or ``'umap'`` (needs
            the package ``umap-learn``).
        seed: Seed of the method.

    Returns:
        Positions in [0, 1], ``(N, 2)``.

    Raises:
        ValueError: If there are fewer than three features, no such method,
            or UMAP is not installed.
    """
    if method not in METHODS:
        raise ValueError(f'method must be one of {METHODS}, got {method!r}')
    if len(features) < 3:
        raise ValueError(
            f'{len(features)} images are too few for a map: give at least 3'
        )
    rows = features.astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    points = _METHODS[method](rows, seed)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / np.maximum(high - low, 1e-12)


def _tsne(rows: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    # The usual perplexity is 30; it must be below the number of points.
    perplexity = min(30.0, (len(rows) - 1) / 3)
    return TSNE(
        init='pca', perplexity=perplexity, random_state=seed
    ).fit_transform(rows)


def _umap(rows: np.ndarray, seed: int) -> np.ndarray:
    if find_spec('umap') is None:
        raise ValueError(
            "UMAP is not installed: pip install umap-learn, or use 'tsne'"
        )
    from umap import UMAP

    neighbors = min(15, len(rows) - 1)
    return UMAP(n_neighbors=neighbors, random_state=seed).fit_transform(rows)


def _pca(rows: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    return PCA(n_components=2, random_state=seed).fit_transform(rows)


_METHODS = dict(tsne=_tsne, umap=_umap, pca=_pca)
