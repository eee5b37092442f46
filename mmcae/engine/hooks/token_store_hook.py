# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Writes the tokens that a run computes to a token store."""

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor

from mmcae.checkpoint.unwrap import unwrap
from mmcae.config.check import ConfigError
from mmcae.datasets import SampleIndex, TokenStore
from mmcae.datasets.token_store.header import run_header
from mmcae.registry import HOOKS


@HOOKS.register_module()
class TokenStoreHook(Hook):
    """Check that a store fits the run, and write the tokens it lacks.

    ``mmcae.LoadTokens`` in the pipeline reads the tokens that this hook
    writes. The entry ``token_store`` of a config adds both (see
    :func:`mmcae.launch.token_store.use_token_store`). Every process checks the
    store and writes its own samples. If a write fails, the run goes on and
    computes the tokens that are not stored.

    Args:
        path: Folder of the store. It is created if it does not exist.

    Raises:
        ConfigError: Before training, if the store was made with other
            settings than the run has; the message names every difference.
    """

    # A store that does not fit stops the run before other hooks begin.
    priority = 'VERY_HIGH'

    def __init__(self, path: str) -> None:
        self.path = path
        self._store: TokenStore | None = None
        self._new: list[tuple[Sequence[Any], Tensor]] = []
        self._seen = self._computed = 0
        self._failed = False

    def before_train(self, runner: Any) -> None:
        """Open the store, or create it."""
        model = unwrap(runner.model)
        if getattr(model, 'target_generator', None) is None or not hasattr(
            model, 'add_token_listener'
        ):
            raise ConfigError(
                'token_store needs model.type=mmcae.CAE with a '
                f'target_generator, not {type(model).__name__}'
            )
        loader = runner.train_loop.dataloader
        header = run_header(
            loader.dataset,
            loader.sampler,
            model.target_generator,
            model.data_preprocessor,
        )
        self._store = TokenStore.for_run(self.path, header)
        runner.logger.info(
            f'Token store {self._store.path}: {self._store.length} tokens a '
            f'view, {self._store.file_bytes:,} bytes '
            + ('a slot of the pool' if header['view_pool'] else 'an epoch')
        )
        model.add_token_listener(self._collect)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Write the tokens that were computed in this iteration."""
        self._seen += len(data_batch['data_samples'])
        new, self._new = self._new, []
        for samples, tokens in new:
            self._computed += len(samples)
            if not self._failed:
                self._write(runner, samples, tokens)

    def after_train_epoch(self, runner: Any) -> None:
        """Log how many views came with stored tokens."""
        self._report(runner)

    def after_train(self, runner: Any) -> None:
        """Stop listening, and log the number if the loop has no epochs."""
        unwrap(runner.model).remove_token_listener(self._collect)
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._report(runner)

    def _collect(self, samples: Sequence[Any], tokens: Tensor) -> None:
        self._new.append((samples, tokens))

    def _write(
        self, runner: Any, samples: Sequence[Any], tokens: Tensor
    ) -> None:
        assert self._store is not None
        try:
            for sample, row in zip(samples, tokens.cpu().numpy(), strict=True):
                index = sample.get('sample_idx')
                if isinstance(index, SampleIndex) and not index.stands_in:
                    self._store.write(index.view, row)
        except OSError as error:
            self._failed = True
            runner.logger.log(
                logging.WARNING,
                f'No more tokens are stored: {error}. The run goes on and '
                'computes them.',
            )

    def _report(self, runner: Any) -> None:
        stored = self._seen - self._computed
        share = stored / max(self._seen, 1)
        runner.logger.info(
            f'Token store: {stored} of {self._seen} views ({share:.1%}) came '
            'with their tokens'
        )
        self._seen = self._computed = 0
