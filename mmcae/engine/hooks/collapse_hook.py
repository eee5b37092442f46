# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Notice while a CAE trains that its latents or tokens collapse."""

from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor

from mmcae.apis.evaluating import evaluating
from mmcae.checkpoint.unwrap import unwrap
from mmcae.evaluation.rank import rank_me, spread
from mmcae.models import CAE
from mmcae.models.layers import split_patches
from mmcae.registry import HOOKS

from ..random_state import preserved_random_state

#: Latents of a healthy CAE differ far more than this, see docs/visualize.md.
LEAST_SPREAD = 0.05
#: Effective rank of healthy latents is far higher, also at the start.
LEAST_RANK = 1.5
#: Codes that the tokens of a healthy tokenizer use, as a perplexity.
LEAST_CODES = 2.0


@HOOKS.register_module()
class CollapseHook(Hook):
    """Logs the rank of the latents, and warns of a collapse by its sign.

    Every few iterations, some images of the batch are encoded once more, in
    evaluation mode. The log gets ``rank_target`` (RankMe of the latents of
    masked patches), ``rank_pred`` (of the predicted ones), ``spread_target``
    and ``spread_pred`` (how much they differ from patch to patch). The signs:

    - *constant latents*: the encoder gives all patches nearly the same latent;
    - *constant predictions*: the regressor does;
    - *one direction*: latents differ along a single direction only;
    - *one token*: the tokenizer gives nearly all patches the same token.

    No number of the training changes.

    Args:
        interval: Iterations between two looks.
        images: How many images of a batch are encoded.

    Raises:
        TypeError: Before training, if the model is not a `CAE`.
    """

    priority = 'NORMAL'  # before the logger

    def __init__(self, interval: int = 50, images: int = 16) -> None:
        self.interval = interval
        self.images = images
        self._warned: set[str] = set()

    def before_train(self, runner: Any) -> None:
        """Check the model."""
        model = unwrap(runner.model)
        if not isinstance(model, CAE):
            raise TypeError(
                f'CollapseHook looks at the latents of mmcae.CAE, not of '
                f'{type(model).__name__}'
            )

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Measure, log and warn."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        target, predicted = latents(
            unwrap(runner.model), data_batch, self.images
        )
        if not (target.isfinite().all() and predicted.isfinite().all()):
            return  # the check of the losses says so
        numbers = dict(
            rank_target=rank_me(target),
            rank_pred=rank_me(predicted),
            spread_target=spread(target),
            spread_pred=spread(predicted),
        )
        hub = runner.message_hub
        for name, value in numbers.items():
            hub.update_scalar(f'train/{name}', value)
        codes = hub.log_scalars.get('train/perplexity')
        signs = find_signs(
            **numbers, codes=codes.current() if codes is not None else None
        )
        for name in signs.keys() - self._warned:
            runner.logger.warning(
                f'Collapse, {name} (iteration {runner.iter + 1}): '
                f'{signs[name]}'
            )
        self._warned = set(signs)


def find_signs(
    rank_target: float,
    rank_pred: float,
    spread_target: float,
    spread_pred: float,
    codes: float | None,
) -> dict[str, str]:
    """Which signs of a collapse numbers show.

    Args:
        rank_target: RankMe of the encoded latents.
        rank_pred: RankMe of the predicted latents.
        spread_target: `spread` of the encoded latents.
        spread_pred: `spread` of the predicted latents.
        codes: Perplexity of the tokens, or None if it is not known.

    Returns:
        By name of the sign, the number and what to look at.
    """
    signs = {}
    if spread_target < LEAST_SPREAD:
        signs['constant latents'] = (
            'the encoder gives all patches nearly the same latent (spread '
            f'{spread_target:.3g}, healthy is above {LEAST_SPREAD}): lower '
            'the learning rate or the weight of the alignment '
            '(model.head.loss.lambd)'
        )
    elif rank_target < LEAST_RANK:
        signs['one direction'] = (
            f'the latents use {rank_target:.2f} directions: lower the '
            'learning rate, or look at the images: are they all alike?'
        )
    if spread_pred < LEAST_SPREAD <= spread_target:
        signs['constant predictions'] = (
            'the regressor predicts nearly the same latent for all patches '
            f'(spread {spread_pred:.3g}, that of the encoder is '
            f'{spread_target:.3g}): it ignores the visible patches; look at '
            'the normalization of the images and at the masks'
        )
    if codes is not None and codes < LEAST_CODES:
        signs['one token'] = (
            f'the tokens use {codes:.2f} codes: the tokenizer has collapsed '
            'or its images are normalized wrongly; train it again '
            '(docs/tokenizers.md)'
        )
    return signs


@torch.no_grad()
def latents(
    model: CAE, batch: dict, images: int | None = None
) -> tuple[Tensor, Tensor]:
    """Encode and predict the latents of masked patches, in evaluation mode.

    Args:
        model: The model.
        batch: A batch as the data loader gives it.
        images: How many of its images; None: all.

    Returns:
        Encoded and predicted latents, each ``(N * M, D)``, float32.
    """
    views, samples = batch['inputs'], batch['data_samples'][:images]
    part = dict(
        inputs=[view[: len(samples)] for view in views], data_samples=samples
    )
    with evaluating(model), preserved_random_state():
        pixels = model.data_preprocessor(part)['inputs'][0]
        grid = model.backbone.grid(pixels)
        mask = torch.stack([sample.mask for sample in samples])
        split = split_patches(mask, grid[0] * grid[1]).to(pixels.device)
        patches = model.backbone.embed(pixels)
        visible = model.backbone.encode(patches, split)[:, 1:]
        predicted = model.neck.regress(visible, split, grid)
        target = model.latent_target(pixels, split, patches)
    return target.flatten(0, 1).float(), predicted.flatten(0, 1).float()
