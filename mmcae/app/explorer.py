# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A model, and the questions about a picture that it answers."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcae.apis.attention import attention_maps
from mmcae.apis.image_input import find_paths, read_image
from mmcae.apis.image_reconstruction import ImageReconstruction
from mmcae.apis.image_views import Placement, prepare, view_maker
from mmcae.apis.loading import LoadedModel
from mmcae.apis.mask_input import read_mask
from mmcae.apis.neighbors import nearest_images
from mmcae.apis.patch_features import encode_images
from mmcae.apis.reconstruction import reconstruct_many
from mmcae.models import CAE, CAEViT

MEAN, ROLLOUT = 'mean of heads', 'rollout'
#: Characters of a sentence about what the model cannot do.
MAX_NOTE = 240


@dataclass(frozen=True)
class Neighbor:
    """An image of the folder that is similar to a picture.

    Attributes:
        name: Its path below the folder.
        cosine: Of its features and those of the picture.
        picture: The encoder's view, RGB, uint8, ``(H, W, 3)``; None if the
            file cannot be read any more.
    """

    name: str
    cosine: float
    picture: np.ndarray | None


class Explorer:
    """Answers questions about pictures; several threads may ask at once.

    The model is only read. Its calls run one after the other, because
    attention and features are recorded by hooks on the model that all threads
    share.

    Args:
        loaded: The model.

    Raises:
        ValueError: If the model has no encoder of mmcae.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        if not isinstance(getattr(loaded.model, 'backbone', None), CAEViT):
            raise ValueError(
                f'{type(loaded.model).__name__} has no encoder of mmcae '
                '(CAEViT): give a checkpoint of a CAE, or of a classifier '
                'that was trained from one'
            )
        self.loaded = loaded
        self.maker = view_maker(loaded)
        self.folder = ''
        self.paths: list[str] = []
        self._features = np.zeros((0, 0))
        self._lock = threading.Lock()
        loaded.model.eval().requires_grad_(False)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patch grid."""
        return self.maker.grid

    @property
    def num_blocks(self) -> int:
        """Blocks of the encoder."""
        return len(self.loaded.backbone.layers)  # type: ignore[arg-type]

    @property
    def num_heads(self) -> int:
        """Heads of a block."""
        layers: Any = self.loaded.backbone.layers
        return layers[-1].attn.num_heads

    @property
    def trained_on(self) -> str:
        """Where the training images were, as the config says; may be ''."""
        loader = self.loaded.config.get('train_dataloader') or {}
        dataset = loader.get('dataset') or {}
        return str(dataset.get('data_root') or '')

    @property
    def limits(self) -> list[str]:
        """What the model cannot do, and why; one sentence each."""
        if not isinstance(self.loaded.model, CAE):
            return [
                f'{type(self.loaded.model).__name__} does not predict masked '
                'patches; give a checkpoint of pretraining (CAE)'
            ]
        return [_short(note) for note in self.loaded.notes]

    @property
    def can_predict(self) -> bool:
        """Whether the model is a CAE."""
        return isinstance(self.loaded.model, CAE)

    def view(self, pixels: np.ndarray) -> np.ndarray:
        """Cut and resize a picture as the encoder gets it.

        Args:
            pixels: RGB, uint8, ``(H, W, 3)``.
        """
        return self.maker.views(pixels)[0]

    def draw_mask(
        self, ratio: float, seed: int = 0, kind: str = 'block'
    ) -> np.ndarray:
        """Draw a mask; see `read_mask`.

        Args:
            ratio: Share of the patches.
            seed: Seed of the draw.
            kind: ``'block'`` or ``'random'``.

        Returns:
            True where a patch is masked, ``(h, w)``.
        """
        return self._mask(ratio, seed, kind)

    def check_mask(self, mask: np.ndarray) -> np.ndarray:
        """Check a painted mask.

        Args:
            mask: Bool, ``(h, w)``.

        Raises:
            ValueError: If it masks no patch, or all of them.
        """
        return self._mask(mask)

    def _mask(
        self, mask: Any, seed: int = 0, kind: str = 'block'
    ) -> np.ndarray:
        size = self.maker.size
        placement = Placement((0, 0, *size), size, self.grid)
        return read_mask(mask, placement, size, seed, kind)

    def reconstruct(
        self, pixels: np.ndarray, mask: np.ndarray
    ) -> ImageReconstruction:
        """Predict the masked patches of a picture.

        Args:
            pixels: RGB, uint8, ``(H, W, 3)``.
            mask: True where a patch is masked, ``(h, w)``.

        Raises:
            ValueError: If the model is no CAE.
        """
        with self._lock:
            (result,) = reconstruct_many(self.loaded, [pixels], [mask])
        return result

    def attention(
        self,
        pixels: np.ndarray,
        patch: tuple[int, int] | None = None,
        block: int = -1,
    ) -> dict[str, np.ndarray]:
        """Compute what a patch takes from each patch.

        Args:
            pixels: RGB, uint8, ``(H, W, 3)``.
            patch: Row and column; None asks for the class token.
            block: Number of the block; negative ones count from the end.

        Returns:
            Maps ``(h, w)`` by their titles: the mean of the heads, each head,
            and the rollout through all blocks.

        Raises:
            ValueError: If there is no such patch or block, or if the encoder
                attends in windows.
        """
        images = prepare(self.loaded, [self.maker.views(pixels)])[0]
        with self._lock:
            found = attention_maps(self.loaded.backbone, images)

        def look(head: int | None) -> np.ndarray:
            if patch is None:
                return found.of_class_token(block, head)[0]
            return found.of_patch(*patch, block, head)[0]

        maps = {MEAN: look(None)}
        maps |= {f'head {i + 1}': look(i) for i in range(found.num_heads)}
        maps[ROLLOUT] = found.rollout(patch)[0]
        return maps

    def add_folder(
        self,
        folder: str | os.PathLike,
        progress: Callable[[int], Any] | None = None,
    ) -> list[str]:
        """Encode the images of a folder, to search for neighbors in it.

        Only the features stay in memory. Call it before threads ask.

        Args:
            folder: The folder.
            progress: Called with the number of images that were just encoded.

        Returns:
            The reason for each file that cannot be read.

        Raises:
            FileNotFoundError: If there is no such folder, or no image in it.
            ValueError: If no image can be read.
        """
        if not Path(folder).expanduser().is_dir():
            raise FileNotFoundError(f'there is no folder {folder}')
        paths = find_paths(folder)
        skipped: list[str] = []
        found = encode_images(
            self.loaded, paths, self.maker, 16, progress, skipped
        )
        features = {str(item.source): item.pooled() for item in found}
        if not features:
            raise ValueError(f'no image of {folder} can be read: {skipped[0]}')
        self.folder = str(Path(folder).expanduser())
        self.paths = list(features)
        self._features = np.stack(list(features.values()))
        return skipped

    def neighbors(
        self, pixels: np.ndarray, path: str = '', count: int = 8
    ) -> list[Neighbor]:
        """Find the images of the folder that are most similar to a picture.

        Args:
            pixels: RGB, uint8, ``(H, W, 3)``.
            path: Its file. A picture is not its own neighbor.
            count: How many.

        Returns:
            The neighbors, the most similar first.
        """
        with self._lock:
            (query,) = encode_images(self.loaded, [pixels], self.maker)
        (order,), (cosines,) = nearest_images(
            query.pooled()[None], self._features, count + 1
        )
        ranked = [
            (self.paths[index], float(cosine))
            for index, cosine in zip(order, cosines, strict=True)
            if self.paths[index] != path
        ]
        return [
            Neighbor(os.path.relpath(p, self.folder), c, self._read(p))
            for p, c in ranked[:count]
        ]

    def _read(self, path: str) -> np.ndarray | None:
        try:
            return self.view(read_image(path))
        except Exception:  # it was read before; now it is gone or another one
            return None


def _short(note: str) -> str:
    """Leave the details of a long note, such as a failed download, out."""
    if len(note) <= MAX_NOTE:
        return note
    start = note[:MAX_NOTE].partition(' (')[0]
    return f'{start}; the terminal of the server says more'
