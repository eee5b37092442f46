# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Pictures of what a CAE predicts, again and again on the same images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmcae.apis.image_views import shown_channels
from mmcae.apis.reconstruction import reconstruct_batch
from mmcae.checkpoint.unwrap import unwrap
from mmcae.config.check import ConfigError
from mmcae.models import CAE
from mmcae.registry import HOOKS
from mmcae.visualization import paint_masked, picture_strip, png_of

from ..random_state import preserved_random_state

_MOST_ROWS = 12


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Draws predictions for the same images, with the same masks, over time.

    Writes ``WORK_DIR/reconstructions.png``: the images, what the encoder
    sees, one row of predictions for each time (with more than twelve rows,
    every second one is dropped), and last what the tokenizer's decoder makes
    of the true tokens. No prediction can look better than that. The newest
    row also goes to the visualizer, i.e. to TensorBoard or Weights & Biases
    if they are configured.

    Images and masks are those of the first images of the training data in
    their first epoch. No number of the training changes.

    Args:
        interval: Iterations between two rows; there is also one before the
            first iteration and one after the last.
        images: How many images.

    Raises:
        ConfigError: Before training, if the model is not a `CAE` or its
            tokenizer cannot decode.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1000, images: int = 8) -> None:
        self.interval = interval
        self.images = images
        self._rows: list[tuple[int, np.ndarray]] = []

    def before_train(self, runner: Any) -> None:
        """Take the images; draw the first row."""
        model = unwrap(runner.model)
        if not isinstance(model, CAE) or not hasattr(
            model.target_generator, 'reconstruct'
        ):
            raise ConfigError(
                'ReconstructionHook needs mmcae.CAE with a tokenizer that '
                'decodes, such as mmcae.DVAE'
            )
        if not is_main_process():
            return
        loader = runner.train_dataloader
        with preserved_random_state():
            count = min(self.images, len(loader.dataset))
            indices = first_samples(loader, count)
            samples = [loader.dataset[index] for index in indices]
            self._batch = loader.collate_fn(samples)
        self._rows = []
        self._draw(runner, runner.iter)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Draw a row if it is time."""
        due = self.every_n_train_iters(runner, self.interval)
        if is_main_process() and (due or self.is_last_train_iter(runner)):
            self._draw(runner, runner.iter + 1)

    def _draw(self, runner: Any, done: int) -> None:
        model = unwrap(runner.model)
        with preserved_random_state():
            data = model.data_preprocessor(self._batch)
            images, token_images = data['inputs']
            masks = torch.stack([s.mask for s in data['data_samples']]).bool()
            result = reconstruct_batch(
                model, images, token_images, masks.flatten(1)
            )
        grid = model.backbone.grid(images)
        shown = _shown(model, token_images)
        mask = masks.view(-1, *grid).cpu().numpy()
        self._rows.append((done, _array(result.picture)))
        if len(self._rows) > _MOST_ROWS:
            self._rows = self._rows[:-1:2] + self._rows[-1:]
        rows = {'image': shown, 'visible': paint_masked(shown, mask)}
        rows |= {
            ('before' if not at else f'after {at:,}'): row
            for at, row in self._rows
        }
        rows['tokenizer'] = _array(result.tokenizer_picture)
        path = Path(runner.work_dir) / 'reconstructions.png'
        path.write_bytes(png_of(picture_strip(rows)))
        newest = np.concatenate(list(self._rows[-1][1]), axis=1)
        runner.visualizer.add_image(
            'reconstruction', (255 * newest).round().astype(np.uint8), done
        )


def first_samples(loader: Any, count: int) -> list[Any]:
    """Indices of the first images, as the sampler of the first epoch draws.

    Args:
        loader: The training data's loader.
        count: How many.
    """
    from mmcae.datasets.sample_seed import SampleIndex

    seed = int(getattr(loader.sampler, 'seed', None) or 0)
    step = max(1, len(loader.dataset) // count)
    return [SampleIndex(step * i, (seed, 0, step * i)) for i in range(count)]


def _shown(model: CAE, token_images: torch.Tensor) -> np.ndarray:
    """The tokenizer's views as RGB in [0, 1]."""
    preprocessor: Any = model.data_preprocessor
    pixels = token_images * preprocessor.second_std + preprocessor.second_mean
    return _array(pixels / 255)


def _array(pictures: torch.Tensor) -> np.ndarray:
    pixels = pictures.clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
    return shown_channels(pixels)
