# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Features of the patches of images, and their principal components."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmcae.apis.evaluating import evaluating
from mmcae.apis.image_input import ImageLike
from mmcae.apis.image_views import ViewMaker, picture_of, prepare
from mmcae.apis.loading import LoadedModel
from mmcae.datasets.transforms.load_image import UnreadableImageError


@dataclass(frozen=True)
class EncodedImage:
    """An image and its features.

    Attributes:
        source: What the caller gave: a path, a PIL image or an array.
        view: The encoder's view, RGB, uint8, ``(H, W, 3)``.
        patches: Normalized features of the last block, ``(h, w, D)``.
        class_token: The class token of the last block, ``(D,)``.
    """

    source: ImageLike
    view: np.ndarray
    patches: np.ndarray
    class_token: np.ndarray

    def pooled(self, pool: str = 'mean') -> np.ndarray:
        """One feature for the image.

        Args:
            pool: ``'mean'`` of the patches, or ``'cls'``, the class token. No
                loss of CAE is applied to the class token.

        Returns:
            ``(D,)``.

        Raises:
            ValueError: If ``pool`` is neither of the two.
        """
        if pool not in ('mean', 'cls'):
            raise ValueError(f"pool must be 'mean' or 'cls', got {pool!r}")
        return self.class_token if pool == 'cls' else self.patches.mean((0, 1))


def encode_images(
    loaded: LoadedModel,
    images: Iterable[ImageLike],
    maker: ViewMaker,
    batch_size: int = 16,
    progress: Callable[[int], Any] | None = None,
    skipped: list[str] | None = None,
) -> Iterator[EncodedImage]:
    """Encode whole images in batches.

    Args:
        loaded: A model with a `CAEViT`.
        images: Paths, PIL images or arrays.
        maker: Makes the encoder's view; see `view_maker`.
        batch_size: Images that are encoded at a time.
        progress: Called with the number of images that were just encoded.
        skipped: A list that gets the reason for each file that is not a
            readable image. By default such a file is an error.

    Yields:
        The images with their features.
    """
    views = _views(images, maker, skipped)
    while batch := list(islice(views, batch_size)):
        inputs = prepare(loaded, [view for _, view in batch])[0]
        tokens = encode_tokens(loaded.backbone, inputs).cpu().numpy()
        for (source, view), row in zip(batch, tokens, strict=True):
            patches = row[1:].reshape(*maker.grid, -1)
            picture = picture_of(view[0])
            yield EncodedImage(source, picture, patches, row[0])
        if progress is not None:
            progress(len(batch))


@torch.no_grad()
def encode_tokens(encoder: nn.Module, images: Tensor) -> Tensor:
    """Return the normalized tokens of the last block.

    Args:
        encoder: A `CAEViT` of any output type.
        images: Preprocessed images, ``(B, 3, H, W)``.

    Returns:
        Class token and patches, float32, ``(B, 1 + L, D)``. A fine-tuned
        encoder normalizes only the pooled feature; its tokens are returned
        as they are.
    """
    found: list[Tensor] = []

    def record(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found.append(output)

    # `ln1` is the identity where the encoder has no final norm. It is called
    # for each returned block, and for the last block last.
    handle = encoder.ln1.register_forward_hook(record)  # type: ignore
    try:
        with evaluating(encoder):
            encoder(images)
    finally:
        handle.remove()
    return found[-1].float()


@dataclass(frozen=True)
class PatchColors:
    """Principal components of patch features as colors.

    Attributes:
        colors: RGB in [0, 1], ``(N, h, w, 3)``; NaN outside the foreground.
        foreground: True where a patch belongs to the foreground, ``(N, h,
            w)``; everywhere without a selection.
        components: The components, rows of length 1, ``(3, D)``.
        explained: Share of the variance that each component explains.
    """

    colors: np.ndarray
    foreground: np.ndarray
    components: np.ndarray
    explained: np.ndarray


def pca_colors(
    features: Sequence[np.ndarray] | np.ndarray, foreground: bool = False
) -> PatchColors:
    """Color the patches of several images by common principal components.

    Equal colors then mean similar features, also in different images.

    Args:
        features: Patch features of N images, each ``(h, w, D)``.
        foreground: Whether to select the foreground by the first component
            and to color only that (as in the DINOv2 paper, arXiv 2304.07193).
            Which side of the component is the background is decided by the
            patches at the borders of the images.

    Returns:
        The colors.

    Raises:
        ValueError: If there are fewer than four patches.
    """
    stack = np.stack(list(features)).astype(np.float64)
    count, rows, columns, width = stack.shape
    flat = stack.reshape(-1, width)
    chosen = np.ones(len(flat), dtype=bool)
    if foreground:
        first = principal_components(flat, 1)[0]
        chosen = _foreground(first[:, 0].reshape(count, rows, columns)).ravel()
    if chosen.sum() < 4:
        raise ValueError(
            f'{chosen.sum()} patches are too few for three components: give '
            'more images'
        )
    scores, components, explained = principal_components(flat[chosen], 3)
    low, high = np.percentile(scores, [1, 99], axis=0)
    span = np.maximum(high - low, 1e-12)
    colors = np.full((len(flat), 3), np.nan)
    colors[chosen] = ((scores - low) / span).clip(0, 1)
    return PatchColors(
        colors=colors.reshape(count, rows, columns, 3),
        foreground=chosen.reshape(count, rows, columns),
        components=components,
        explained=explained,
    )


def principal_components(
    rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the first principal components.

    Args:
        rows: ``(N, D)``.
        count: How many components.

    Returns:
        Scores ``(N, count)``, components ``(count, D)`` and the share of the
        variance that each explains ``(count,)``. The largest entry of a
        component is positive.
    """
    centered = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(centered.T @ centered)
    order = np.argsort(values)[::-1][:count]
    components = vectors[:, order].T
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(order)), largest])[:, None]
    explained = values[order] / max(values.sum(), 1e-12)
    return centered @ components.T, components, explained


def _foreground(scores: np.ndarray) -> np.ndarray:
    """Split patches by a threshold; the borders are mostly background.

    Args:
        scores: Of the first component, ``(N, h, w)``.
    """
    border = np.ones(scores.shape[1:], dtype=bool)
    border[1:-1, 1:-1] = False
    above = scores > _otsu(scores.ravel())
    if above[:, border].mean() > above[:, ~border].mean():
        return ~above
    return above


def _otsu(values: np.ndarray) -> float:
    """The threshold between two groups that differ most (Otsu, 1979)."""
    ordered = np.sort(values)
    below = np.cumsum(ordered)[:-1]
    count = np.arange(1, len(ordered))
    rest = ordered.sum() - below
    gap = below / count - rest / (len(ordered) - count)
    best = int((count * (len(ordered) - count) * gap**2).argmax())
    return float((ordered[best] + ordered[best + 1]) / 2)


def _views(
    images: Iterable[ImageLike],
    maker: ViewMaker,
    skipped: list[str] | None,
) -> Iterator[tuple[ImageLike, tuple[np.ndarray, np.ndarray]]]:
    for image in images:
        try:
            pixels = maker.read(image)
        except UnreadableImageError as error:
            if skipped is None:
                raise
            skipped.append(f'{error.path} ({error.reason})')
            continue
        yield image, maker.views(pixels)
