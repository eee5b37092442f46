# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Reconstruct images with a pretrained CAE."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor, nn

from mmcae.apis.image_input import ImageLike
from mmcae.apis.image_reconstruction import ImageReconstruction
from mmcae.apis.image_views import (
    ViewMaker,
    channels_note,
    picture_of,
    prepare,
    shown_channels,
    view_maker,
)
from mmcae.apis.loading import LoadedModel, load_model
from mmcae.apis.mask_input import MaskLike, read_mask
from mmcae.apis.prediction import predict_masked
from mmcae.datasets.transforms.load_image import UnreadableImageError
from mmcae.models import CAE


class Reconstruction(NamedTuple):
    """Tokens and pictures of a batch; pictures are RGB in [0, 1].

    Attributes:
        tokens: Tokens of the whole images, ``(B, L)``.
        predicted: The same, but with the predicted tokens at masked patches.
        picture: ``predicted``, decoded by the tokenizer's decoder,
            ``(B, 3, H, W)``.
        tokenizer_picture: ``tokens``, decoded by the same decoder,
            ``(B, 3, H, W)``. No prediction can look better.
        accuracy: Share of the masked patches whose token is predicted
            correctly.
    """

    tokens: Tensor
    predicted: Tensor
    picture: Tensor
    tokenizer_picture: Tensor
    accuracy: float


@torch.no_grad()
def reconstruct_batch(
    model: CAE,
    images: Tensor,
    token_images: Tensor,
    mask: Tensor,
    decoder: Any = None,
) -> Reconstruction:
    """Predict the tokens of masked patches and decode them to pictures.

    Args:
        model: A CAE with a tokenizer. If the tokenizer has not loaded its
            weights yet, they are loaded from the file in its config.
        images: Preprocessed images for the encoder, ``(B, 3, H, W)``.
        token_images: The same for the tokenizer, ``(B, 3, H', W')``.
        mask: ``True`` where a patch is masked, ``(B, L)``.
        decoder: A module that turns tokens into pictures with its method
            ``reconstruct(tokens, grid=...)``. Defaults to the tokenizer
            itself (`DVAE`); DALL-E needs a `DALLEDecoder`.

    Returns:
        See `Reconstruction`.

    Raises:
        ValueError: If neither the tokenizer nor ``decoder`` can decode.
    """
    tokenizer = model.target_generator
    configured = getattr(tokenizer, 'init_cfg', None)
    if configured and getattr(tokenizer, 'weights_info', None) is None:
        tokenizer.init_weights()  # a CAE checkpoint has no tokenizer
    decoder = decoder or tokenizer
    if not hasattr(decoder, 'reconstruct'):
        raise ValueError(
            f'{type(decoder).__name__} cannot decode tokens: pass the '
            "tokenizer's decoder, e.g. mmcae.DALLEDecoder"
        )
    found = predict_masked(model, images, mask, token_images, tokenizer)
    grid = model.backbone.grid(images)
    tokens, predicted = found.tokens, found.predicted
    assert tokens is not None
    assert predicted is not None
    masked = mask.flatten(1).bool().to(tokens.device)
    return Reconstruction(
        tokens=tokens,
        predicted=predicted,
        picture=decoder.reconstruct(predicted, grid=grid),
        tokenizer_picture=decoder.reconstruct(tokens, grid=grid),
        accuracy=(predicted == tokens)[masked].float().mean().item(),
    )


@overload
def reconstruct(
    model: CAE,
    images: Tensor,
    token_images: Tensor,
    mask: Tensor,
    decoder: Any = None,
) -> Reconstruction: ...


@overload
def reconstruct(
    model: 'nn.Module | LoadedModel | str | os.PathLike',
    image: ImageLike,
    mask: MaskLike = None,
    seed: int = 0,
    **options: Any,
) -> ImageReconstruction: ...


def reconstruct(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Mask a part of an image and let a pretrained CAE predict it.

    ``reconstruct(model, image, mask=None, seed=0, **options)`` is
    `reconstruct_many` for one image; its options are explained there. A
    checkpoint alone is enough::

        result = reconstruct('work_dirs/my_run/epoch_300.pth', 'cat.jpg')
        result.save('cat_reconstructed.png')
        result.alignment  # (h, w), NaN at visible patches

    To reconstruct many images, load the model once: ``model =
    load_model('epoch_300.pth')``.

    The former call, ``reconstruct(model, images, token_images, mask,
    decoder=None)`` with preprocessed batches, is now `reconstruct_batch`. It
    works here until mmcae 0.2.

    Args:
        model: See `load_model`.
        *args: ``image``, ``mask`` and ``seed``.
        **kwargs: The same by name, and options.

    Returns:
        An `ImageReconstruction`.

    Raises:
        FileNotFoundError: If the image, the mask or the checkpoint is not
            there.
        ValueError: If they do not fit each other.
    """
    is_batch = 'images' in kwargs or 'token_images' in kwargs
    if is_batch or (len(args) > 1 and isinstance(args[1], Tensor)):
        warnings.warn(
            'reconstruct(model, images, token_images, mask) is now called '
            'reconstruct_batch; the old name works until mmcae 0.2.',
            DeprecationWarning,
            stacklevel=2,
        )
        return reconstruct_batch(model, *args, **kwargs)
    return _reconstruct_one(model, *args, **kwargs)


def _reconstruct_one(
    model: Any,
    image: ImageLike,
    mask: MaskLike = None,
    seed: int = 0,
    **options: Any,
) -> ImageReconstruction:
    (result,) = reconstruct_many(model, [image], [mask], seed, **options)
    return result


def reconstruct_many(
    model: 'nn.Module | LoadedModel | str | os.PathLike',
    images: Iterable[ImageLike],
    masks: Sequence[MaskLike] = (None,),
    seed: int | Sequence[int] = 0,
    *,
    kind: str = 'block',
    size: int | Sequence[int] | None = None,
    fit: str | None = None,
    batch_size: int = 16,
    progress: Callable[[int], Any] | None = None,
    skipped: list[str] | None = None,
    **loading: Any,
) -> Iterator[ImageReconstruction]:
    """Reconstruct images in batches.

    Args:
        model: A checkpoint, a name, or a model; see `load_model`.
        images: Paths, PIL images or arrays.
        masks: Each image is reconstructed with each of these masks; see
            `read_mask` for what a mask can be.
        seed: Seed or seeds of the masks that are drawn. With several seeds,
            each mask is drawn with each of them.
        kind: How masks are drawn: ``'block'`` or ``'random'``.
        size: Size of the encoder's view: one number or ``(height, width)``.
            Defaults to the size of training.
        fit: ``'crop'`` cuts off what does not fit the shape of the view,
            ``'stretch'`` distorts the image. Defaults to what training did.
        batch_size: Reconstructions that are computed at a time.
        progress: Called with the number of reconstructions just made.
        skipped: A list that gets the reason for each file that is not a
            readable image. By default such a file is an error.
        **loading: ``config``, ``tokenizer``, ``decoder``, ``device``; see
            `load_model`.

    Yields:
        Reconstructions, image by image, in the order of masks and seeds.

    Raises:
        FileNotFoundError: If an image, a mask or the checkpoint is not there.
        ValueError: If they do not fit each other.
    """
    loaded = load_model(model, **loading)
    if not isinstance(loaded.model, CAE):
        raise ValueError(
            f'{type(loaded.model).__name__} does not predict masked patches: '
            'give a checkpoint of pretraining (CAE)'
        )
    maker = view_maker(loaded, size, fit)
    note = channels_note(maker.channels)
    if note and note not in loaded.notes:
        loaded.notes.append(note)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    jobs = _jobs(images, masks, seeds, maker, kind, skipped)
    while batch := list(islice(jobs, batch_size)):
        yield from _reconstruct_jobs(loaded, batch)
        if progress is not None:
            progress(len(batch))


class _Job(NamedTuple):
    """One image and one mask."""

    views: tuple[np.ndarray, np.ndarray]
    mask: np.ndarray
    name: str


def _jobs(
    images: Iterable[ImageLike],
    masks: Sequence[MaskLike],
    seeds: Sequence[int],
    maker: ViewMaker,
    kind: str,
    skipped: list[str] | None,
) -> Iterator[_Job]:
    for image in images:
        try:
            pixels = maker.read(image)
        except UnreadableImageError as error:
            if skipped is None:
                raise
            skipped.append(f'{error.path} ({error.reason})')
            continue
        views, place = maker.views(pixels), maker.place(pixels)
        is_path = isinstance(image, str | os.PathLike)
        name = os.path.basename(image) if is_path else ''  # type: ignore
        for mask in masks:
            drawn = mask is None or isinstance(mask, int | float)
            for seed in seeds if drawn else seeds[:1]:
                cells = read_mask(mask, place, pixels.shape[:2], seed, kind)
                yield _Job(views, cells, str(name))


@torch.no_grad()
def _reconstruct_jobs(
    loaded: LoadedModel, jobs: Sequence[_Job]
) -> list[ImageReconstruction]:
    """Reconstruct a batch; jobs that mask equally many share a pass."""
    groups: dict[int, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(int(job.mask.sum()), []).append(number)
    results: dict[int, ImageReconstruction] = {}
    for numbers in groups.values():
        made = _reconstruct_group(loaded, [jobs[n] for n in numbers])
        results.update(zip(numbers, made, strict=True))
    return [results[number] for number in range(len(jobs))]


def _reconstruct_group(
    loaded: LoadedModel, jobs: Sequence[_Job]
) -> list[ImageReconstruction]:
    images, token_images = prepare(loaded, [job.views for job in jobs])
    cells = np.stack([job.mask for job in jobs])
    mask = torch.from_numpy(cells).flatten(1)
    found = predict_masked(
        loaded.model,  # type: ignore[arg-type]
        images,
        mask,
        token_images,
        loaded.tokenizer,
    )
    grid = cells.shape[1:]
    alignment = np.full(cells.shape, np.nan, dtype=np.float32)
    alignment[cells] = found.alignment.float().cpu().numpy().ravel()
    pictures: dict[str, Any] = dict.fromkeys(
        ('tokens', 'predicted', 'picture', 'tokenizer_picture')
    )
    for tokens, name, drawn in (
        (found.predicted, 'predicted', 'picture'),
        (found.tokens, 'tokens', 'tokenizer_picture'),
    ):
        if tokens is None:
            continue
        pictures[name] = tokens.cpu().numpy().reshape(-1, *grid)
        if loaded.decoder is not None:
            rgb = loaded.decoder.reconstruct(tokens, grid=grid)
            pictures[drawn] = shown_channels(
                rgb.float().permute(0, 2, 3, 1).cpu().numpy()
            )
    return [
        ImageReconstruction(
            image=picture_of(job.views[0]).astype(np.float32) / 255,
            mask=job.mask,
            outputs=found.outputs[number].float().cpu().numpy(),
            alignment=alignment[number],
            alignment_others=float(found.others[number]),
            name=job.name,
            notes=tuple(loaded.notes),
            **{
                key: None if value is None else value[number]
                for key, value in pictures.items()
            },
        )
        for number, job in enumerate(jobs)
    ]
