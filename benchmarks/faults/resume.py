# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Stop a run, resume it, and compare with one that was not stopped."""

from collections.abc import Iterator

import torch

from .runs import EPOCH, Row, Settings, make_config, make_images, train


def resume_rows(settings: Settings) -> Iterator[Row]:
    """Compare resumed runs with uninterrupted ones."""
    photos = make_images(settings.folder / 'resume')
    variants: dict[str, dict] = {
        'plain': {},
        'bfloat16': {'optim_wrapper.type': 'mmcae.AmpOptimWrapper'},
        'copied teacher': {'model.target_encoder': 'copy'},
        'accumulation over 4': {'optim_wrapper.accumulative_counts': 4},
    }
    losses = equal = runs = weights = 0
    for name, options in variants.items():
        for by_epoch in (True, False):
            where = settings.folder / 'resume' / f'{name}{by_epoch}'
            whole, end = train(
                make_config(photos, where / 'whole', by_epoch, **options)
            )
            for stop in (EPOCH, EPOCH + 7):
                for workers in (0, 2) if name == 'plain' else (0,):
                    options['train_dataloader.num_workers'] = workers
                    cfg = make_config(
                        photos,
                        where / f'{stop}-{workers}',
                        by_epoch,
                        **options,
                    )
                    before, _ = train(cfg.copy(), stop)
                    cfg.resume = True
                    after, resumed = train(cfg)
                    both = before.losses + after.losses
                    pairs = zip(both, whole.losses, strict=False)
                    equal += sum(a == b for a, b in pairs)
                    losses += len(whole.losses)
                    runs += 1
                    weights += len(both) == len(whole.losses) and all(
                        torch.equal(a, b)
                        for a, b in zip(
                            resumed.model.state_dict().values(),
                            end.model.state_dict().values(),
                            strict=True,
                        )
                    )
    yield Row(
        'a resumed run has the losses of an uninterrupted one',
        losses,
        equal,
        f'{runs} runs: both loops, end and middle of an epoch, 0 and 2 '
        'workers, drop path, ' + ', '.join(list(variants)[1:]),
    )
    yield Row(
        'and its final weights, after exactly the planned iterations',
        runs,
        weights,
        'bit by bit',
    )
