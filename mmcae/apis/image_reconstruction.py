# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The reconstruction of one image, with pictures of each step."""

import base64
import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcae.visualization import (
    HeatMap,
    contact_sheet,
    paint_masked,
    save_figure,
    to_png,
)

#: A title of a column in the figure, and what it shows.
COLUMNS = {
    'image': 'image',
    'seen': 'visible',
    'picture': 'predicted',
    'pasted': 'pasted back',
    'tokenizer_picture': 'best possible',
    'hits': 'token right?',
    'alignment': 'alignment',
}


@dataclass(frozen=True, repr=False)
class ImageReconstruction:
    """What a CAE makes of one image. Pictures are RGB in [0, 1].

    Attributes:
        image: The encoder's view, ``(H, W, 3)``.
        mask: True where a patch is masked, ``(h, w)``.
        outputs: Output of the decoder for the ``M`` masked patches, row by
            row: logits over the codes, or predicted features, ``(M, K)``.
        alignment: Cosine of the predicted latent and the latent that the
            encoder computes from the masked patches. NaN at visible patches,
            ``(h, w)``.
        alignment_others: Mean cosine of a prediction and the latents of
            *other* masked patches. The alignment means something if it is
            clearly higher than this.
        tokens: Tokens of the image, ``(h, w)``, or None without a tokenizer.
        predicted: The same with predicted tokens at masked patches.
        picture: ``predicted``, drawn by the tokenizer's decoder,
            ``(H', W', 3)``, or None without a decoder.
        tokenizer_picture: ``tokens``, drawn by the same decoder. No
            prediction can look better.
        name: Name of the image, for titles.
        notes: Why something is missing, one sentence each.
    """

    image: np.ndarray
    mask: np.ndarray
    outputs: np.ndarray
    alignment: np.ndarray
    alignment_others: float
    tokens: np.ndarray | None = None
    predicted: np.ndarray | None = None
    picture: np.ndarray | None = None
    tokenizer_picture: np.ndarray | None = None
    name: str = ''
    notes: tuple[str, ...] = ()

    @property
    def seen(self) -> np.ndarray:
        """What the encoder sees; masked patches are gray, ``(H, W, 3)``."""
        return paint_masked(self.image[None], self.mask[None])[0]

    @property
    def pasted(self) -> np.ndarray | None:
        """``picture`` with the visible patches of the image, ``(H, W, 3)``."""
        if self.picture is None:
            return None
        masked = self.mask
        for axis in range(2):
            repeats = self.image.shape[axis] // self.mask.shape[axis]
            masked = masked.repeat(repeats, axis=axis)
        picture = _resized(self.picture, self.image.shape[:2])
        return np.where(masked[..., None], picture, self.image)

    @property
    def hits(self) -> np.ndarray | None:
        """1 where the predicted token is right, 0 where not, ``(h, w)``.

        NaN at visible patches.
        """
        if self.tokens is None or self.predicted is None:
            return None
        right = (self.tokens == self.predicted).astype(np.float32)
        return np.where(self.mask, right, np.nan)

    @property
    def token_accuracy(self) -> float | None:
        """Share of the masked patches whose token is predicted correctly."""
        hits = self.hits
        return None if hits is None else float(np.nanmean(hits))

    @property
    def alignment_mean(self) -> float:
        """Mean of the alignment map over the masked patches."""
        return float(np.nanmean(self.alignment))

    @property
    def summary(self) -> str:
        """The numbers in a few words."""
        words = [f'{self.mask.sum()} of {self.mask.size} patches masked']
        if self.token_accuracy is not None:
            words.append(f'token accuracy {self.token_accuracy:.2f}')
        cosine = f'alignment {self.alignment_mean:.2f}'
        if np.isfinite(self.alignment_others):
            cosine += f' (other patches {self.alignment_others:.2f})'
        return ', '.join([*words, cosine])

    def panels(self) -> dict[str, Any]:
        """Titles and pictures of one row of a contact sheet."""
        found: dict[str, Any] = {}
        for attribute, title in COLUMNS.items():
            value = getattr(self, attribute)
            if attribute == 'hits' and value is not None:
                value = HeatMap(value, self.image, 0, 1, 'RdYlGn', opacity=0.7)
            elif attribute == 'alignment':
                value = HeatMap(value, self.image, 0, 1, 'viridis', 'cosine')
            if value is not None:
                found[title] = value
        return found

    def caption(self) -> str:
        """Name and numbers, for the left of a row."""
        lines = [self.name] if self.name else []
        if self.token_accuracy is not None:
            lines.append(f'accuracy {self.token_accuracy:.2f}')
        lines.append(f'alignment {self.alignment_mean:.2f}')
        if np.isfinite(self.alignment_others):
            lines.append(f'(others {self.alignment_others:.2f})')
        return '\n'.join(lines)

    def figure(self) -> Any:
        """Draw the reconstruction as a matplotlib figure."""
        return contact_sheet(
            [self.panels()], [self.caption()], notes=self.notes
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the figure, or the arrays.

        Args:
            path: ``.npz`` writes the arrays; any ending that matplotlib knows
                (``.png``, ``.jpg``, ``.pdf``, ``.svg``) writes the figure.
        """
        path = Path(path)
        if path.suffix != '.npz':
            save_figure(self.figure(), path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: Any = {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        np.savez(path, **arrays)

    def _repr_png_(self) -> bytes:
        return to_png(self.figure())

    def _repr_html_(self) -> str:
        data = base64.b64encode(self._repr_png_()).decode()
        text = html.escape(self.summary)
        return (
            f'<img alt="{text}" style="max-width:100%" '
            f'src="data:image/png;base64,{data}"><div>{text}</div>'
        )

    def __repr__(self) -> str:
        name = f'{self.name!r}, ' if self.name else ''
        return f'{type(self).__name__}({name}{self.summary})'


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture with float pixels in [0, 1]."""
    if picture.shape[:2] == size:
        return picture
    import cv2

    enlarged = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC)
    return enlarged.clip(0, 1)
