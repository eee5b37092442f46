# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The most similar images, by the cosine of their features."""

import numpy as np


def nearest_images(
    queries: np.ndarray, features: np.ndarray, count: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest neighbors of each query.

    Args:
        queries: ``(Q, D)``.
        features: Features to search in, ``(N, D)``.
        count: Neighbors of each query; fewer if there are fewer images.

    Returns:
        Indices into ``features`` and cosines, both ``(Q, count)``, the most
        similar first. Among equals, the first one comes first.

    Raises:
        ValueError: If there is nothing to search in, or ``count`` is not
            positive.
    """
    if count < 1 or not len(features):
        raise ValueError(
            f'cannot find {count} neighbors among {len(features)} images'
        )
    cosines = _unit(queries) @ _unit(features).T
    order = np.argsort(-cosines, axis=1, kind='stable')[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, 1e-12)
