# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Hook that logs the number of unreadable files."""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook, LoggerHook
from torch.utils.data import DataLoader

from mmcae.checkpoint.printable import printable
from mmcae.datasets.inner_datasets import inner_datasets
from mmcae.datasets.skip_unreadable import SkipUnreadableMixin
from mmcae.registry import HOOKS

_MAX_LISTED = 20


def find_datasets(dataset: Any) -> Iterator[SkipUnreadableMixin]:
    """Find the datasets that count unreadable files, also in wrappers.

    Args:
        dataset: A dataset or a wrapper such as ``ConcatDataset``.

    Yields:
        Each dataset built on :class:`SkipUnreadableMixin`.
    """
    for inner in inner_datasets(dataset):
        if isinstance(inner, SkipUnreadableMixin):
            yield inner


def require_batches(loader: DataLoader) -> None:
    """Raise ``ValueError`` if a training loader yields no batch at all."""
    if len(loader) == 0:
        size = len(loader.dataset)  # type: ignore[arg-type]
        raise ValueError(
            f'{size} training images do not fill one batch '
            f'of {loader.batch_size} on each process: lower '
            'train_dataloader.batch_size'
        )


@HOOKS.register_module()
class DataHealthHook(Hook):
    """Log how many files of the training data could not be read.

    The hook also refuses a data loader that yields no batch (``drop_last``
    with fewer images than a batch): mmengine would run such a training to its
    end without an error.

    The scalar ``unreadable`` is logged from the first such file on. At the
    end of each epoch, the processes of a distributed run merge their lists of
    files, and the first process also logs the files that only others have
    found. At the end of training, a summary is logged.
    """

    priority = 'NORMAL'

    def __init__(self) -> None:
        self._datasets: list[SkipUnreadableMixin] = []
        self._logged = 0
        self._interval = 1

    def before_train(self, runner: Any) -> None:
        """Find the datasets that count unreadable files."""
        loader = runner.train_loop.dataloader
        require_batches(loader)
        self._datasets = list(find_datasets(loader.dataset))
        self._logged = 0
        hooks = getattr(runner, 'hooks', ())
        loggers = [h for h in hooks if isinstance(h, LoggerHook)]
        self._interval = min((h.interval for h in loggers), default=1)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Update the scalar, when it is logged, if it has changed."""
        if not (
            self.every_n_inner_iters(batch_idx, self._interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            return
        count = sum(dataset.num_unreadable for dataset in self._datasets)
        if count > self._logged:
            self._logged = count
            runner.message_hub.update_scalar('train/unreadable', count)

    def after_train_epoch(self, runner: Any) -> None:
        """Merge the lists of files of all processes."""
        if get_world_size() > 1:
            for dataset in self._datasets:
                self._merge(runner, dataset)

    def after_train(self, runner: Any) -> None:
        """Log a summary."""
        for dataset in self._datasets:
            self._summarize(runner, dataset)

    @staticmethod
    def _merge(runner: Any, dataset: SkipUnreadableMixin) -> None:
        known = dataset.unreadable_flags.clone()
        merged = known.clone()
        all_reduce(merged, op='max')
        dataset.unreadable_flags.copy_(merged)
        for index in torch.nonzero(merged > known).flatten().tolist():
            path = dataset.get_data_info(index)['img_path']  # type: ignore
            runner.logger.warning(
                'Skipping an unreadable file: '
                f'{printable(path, 1000)}: met by another process'
            )

    @staticmethod
    def _summarize(runner: Any, dataset: SkipUnreadableMixin) -> None:
        total = len(dataset.unreadable_flags)
        count = dataset.num_unreadable
        names = dataset.unreadable_files(_MAX_LISTED)
        more = [f'... and {count - len(names)} more'] * (count > len(names))
        runner.logger.log(
            logging.WARNING if count else logging.INFO,
            '\n  '.join(
                [
                    f'Unreadable files met in training: {count} of {total}',
                    *names,
                    *more,
                ]
            ),
        )
