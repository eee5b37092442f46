# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What happens when a user does something on the page.

Each action takes a user's session, and returns the next session and the parts
of the page that change. A session is never changed in place, and nothing
about a user is kept anywhere else, so users cannot mix.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcae.app import markup
from mmcae.app.examples import Example
from mmcae.app.explorer import Explorer
from mmcae.app.uploads import RefusedError, read_upload

log = logging.getLogger(__name__)

#: Parts of the page that actions change.
PARTS = (
    'notice',
    'mask_canvas',
    'prediction',
    'attention_canvas',
    'attention',
    'neighbors',
)
ALL_HEADS = 'all heads'

Updates = dict[str, str]


@dataclass(frozen=True, eq=False)
class Session:
    """What one user has chosen.

    Attributes:
        path: File of the picture.
        mask: True where a patch is masked, ``(h, w)``.
        patch: Row and column of the patch whose attention is shown; None is
            the class token.
        block: Number of the block, from 0; -1 is the last one.
        head: The title of the only attention map to show, or `ALL_HEADS`.
    """

    path: str = ''
    mask: np.ndarray | None = None
    patch: tuple[int, int] | None = None
    block: int = -1
    head: str = ALL_HEADS


class Actions:
    """The actions of all users of a page.

    Args:
        explorer: The model.
        examples: Pictures to choose.
    """

    def __init__(
        self, explorer: Explorer, examples: Sequence[Example]
    ) -> None:
        self.explorer = explorer
        self.examples = list(examples)

    def start(self) -> tuple[Session, Updates]:
        """Show the first example with half of its patches masked."""
        mask = self.explorer.draw_mask(0.5)
        rows, columns = self.explorer.grid
        patch = (rows // 2, columns // 2)
        session = Session(mask=mask, patch=patch)
        session, updates = self.choose(session, self.examples[0].path)
        updates['mask_canvas'] = self._mask_canvas(session)
        return session, updates

    def example(
        self, session: Session, number: int
    ) -> tuple[Session, Updates]:
        """Choose an example by its number."""
        if not 0 <= number < len(self.examples):
            raise RefusedError(f'there is no example {number}')
        return self.choose(session, self.examples[number].path)

    def choose(self, session: Session, path: str) -> tuple[Session, Updates]:
        """Choose a picture; mask and patch stay as they are."""
        pixels = read_upload(path)
        session = replace(session, path=path)
        updates = self._predict(session, pixels)
        # Without a mask: the user may have painted since the click.
        updates['mask_canvas'] = markup.canvas_value(
            self.explorer.view(pixels), self.explorer.grid
        )
        updates |= self._attend(session, pixels)
        if self.explorer.paths:
            updates['neighbors'] = markup.neighbors_html(
                self.explorer.neighbors(pixels, path)
            )
        return session, updates

    def paint(self, session: Session, text: str) -> tuple[Session, Updates]:
        """Take the mask that the user has painted.

        Args:
            session: The session.
            text: One digit for each patch, ``1`` where it is masked.
        """
        rows, columns = self.explorer.grid
        if len(text) != rows * columns or set(text) - {'0', '1'}:
            raise RefusedError(
                f'the mask does not fit the {rows} x {columns} patches: load '
                'the page again'
            )
        cells = np.array([digit == '1' for digit in text])
        mask = self.explorer.check_mask(cells.reshape(rows, columns))
        session = replace(session, mask=mask)
        return session, self._predict(session, read_upload(session.path))

    def draw(
        self, session: Session, ratio: float, seed: float | None, kind: str
    ) -> tuple[Session, Updates]:
        """Draw a mask.

        Args:
            session: The session.
            ratio: Share of the patches.
            seed: Seed of the draw; a whole number, not negative.
            kind: ``'block'`` or ``'random'``.
        """
        if seed is None or seed != int(seed) or seed < 0:
            raise RefusedError(
                f'the seed must be a whole number from 0, got {seed}'
            )
        mask = self.explorer.draw_mask(float(ratio), int(seed), kind)
        session = replace(session, mask=mask)
        updates = self._predict(session, read_upload(session.path))
        updates['mask_canvas'] = self._mask_canvas(session)
        return session, updates

    def look(
        self, session: Session, patch: Sequence[int] | None
    ) -> tuple[Session, Updates]:
        """Show the attention of a patch; None is the class token."""
        chosen = None if patch is None else (int(patch[0]), int(patch[1]))
        session = replace(session, patch=chosen)
        return session, self._attend(session, read_upload(session.path))

    def choose_attention(
        self, session: Session, block: int, head: str
    ) -> tuple[Session, Updates]:
        """Choose the block and the head whose attention is shown."""
        session = replace(session, block=int(block), head=str(head))
        return session, self._attend(session, read_upload(session.path))

    def _mask_canvas(self, session: Session) -> str:
        view = self.explorer.view(read_upload(session.path))
        return markup.canvas_value(view, self.explorer.grid, session.mask)

    def _predict(self, session: Session, pixels: np.ndarray) -> Updates:
        updates = {'notice': ''}
        if self.explorer.can_predict:
            assert session.mask is not None  # set by `start`
            before = time.perf_counter()
            result = self.explorer.reconstruct(pixels, session.mask)
            seconds = time.perf_counter() - before
            updates['prediction'] = markup.reconstruction_html(result, seconds)
        return updates

    def _attend(self, session: Session, pixels: np.ndarray) -> Updates:
        view = self.explorer.view(pixels)
        maps = self.explorer.attention(pixels, session.patch, session.block)
        chosen = '' if session.head == ALL_HEADS else session.head
        return {
            'notice': '',
            'attention': markup.attention_html(view, maps, chosen),
            'attention_canvas': markup.canvas_value(
                view, self.explorer.grid, patch=session.patch
            ),
        }


def guarded(
    action: Callable[..., tuple[Session, Updates]],
    session: Session,
    *args: Any,
) -> tuple[Session, Updates]:
    """Call an action; what it refuses becomes a sentence on the page.

    Args:
        action: The action.
        session: The session. After an error it stays as it is.
        *args: Further arguments of the action.
    """
    try:
        return action(session, *args)
    except ValueError as error:  # `RefusedError` is one, too
        return session, {'notice': markup.notice_html(str(error))}
    except Exception as error:
        log.exception('an action of the page failed')
        text = (
            f'this is an error of the program ({type(error).__name__}), not '
            'of your picture; the terminal of the server shows where'
        )
        return session, {'notice': markup.notice_html(text)}
