# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Load the stored visual tokens of a sample."""

from mmcv.transforms import BaseTransform

from mmcae.datasets.sample_seed import SampleIndex
from mmcae.datasets.token_store.store import TokenStore
from mmcae.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadTokens(BaseTransform):
    """Load the tokens of a sample, so that it needs no second view.

    Added key: ``tokens``, uint16 ``(L,)``, if the store has them. Put this
    transform before the one that makes the two views. A sample without an
    identity gets no tokens, and neither does a replacement for an unreadable
    file.

    Args:
        store: The folder of the :class:`~mmcae.datasets.TokenStore`. If it
            does not exist yet, no sample gets tokens.
    """

    def __init__(self, store: str) -> None:
        self.store = store
        self._opened: TokenStore | None = None

    def transform(self, results: dict) -> dict:
        """Add the tokens to the results."""
        index = results.get('sample_idx')
        if not isinstance(index, SampleIndex) or index.stands_in:
            return results
        if self._opened is None:
            try:
                self._opened = TokenStore.open(self.store)
            except FileNotFoundError:
                return results
        tokens = self._opened.read(index.view)
        if tokens is not None:
            results['tokens'] = tokens
        return results

    def target_view_settings(self) -> None:
        """Stored tokens do not change the tokenizer's view."""

    def __repr__(self) -> str:
        return f'{type(self).__name__}(store={self.store!r})'
