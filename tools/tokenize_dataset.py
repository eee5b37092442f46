# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Compute the visual tokens of a pretraining run before the run.

    python tools/tokenize_dataset.py CONFIG STORE --epochs 0:300
    python tools/train.py CONFIG --cfg-options token_store=STORE

The tokens are written to a token store. Only tokens that are not in the store
are computed, so run the command again after an interruption or for more
epochs. Several processes share the work with --processes, --shard or torchrun.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    MODELS,
    init_default_scope,
)
from torch import nn
from torch.utils.data import DataLoader

from mmcae.config.overrides import ConfigError, load_config
from mmcae.datasets import SampleIndex, TokenStore, collate_views
from mmcae.datasets.token_store.header import run_header, skip_first_view
from mmcae.datasets.token_store.store import check_space
from mmcae.launch.runner import CFG_OPTIONS_HELP, StrictDictAction, run
from mmcae.launch.token_store import share_sampler_seed, use_token_store
from mmcae.models.selfsup.tokens import all_tokens, check_pixel_norm

_SECONDS_BETWEEN_LINES = 10


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        help='config of pretraining: a path, or the name of a packaged config',
    )
    parser.add_argument('store', help='folder of the token store')
    parser.add_argument(
        '--epochs',
        type=_span,
        metavar='FIRST:END',
        help='epochs to fill, counted from 0 and without END; with a pool of '
        'views, slots of the pool (default: all epochs of the run, or all '
        'slots)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=64,
        help='images per batch (default: 64)',
    )
    parser.add_argument(
        '--num-workers',
        type=int,
        default=2,
        help='workers of each process that load images (default: 2)',
    )
    parser.add_argument(
        '--shard',
        type=_shard,
        metavar='I/N',
        help='compute every N-th image, beginning with image I; with '
        'torchrun, the rank and the world size are used',
    )
    parser.add_argument(
        '--processes',
        type=int,
        default=1,
        help='number of processes to start on this machine (default: 1)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=StrictDictAction,
        metavar='KEY=VALUE',
        help=CFG_OPTIONS_HELP,
    )
    args = parser.parse_args()
    if args.processes > 1 and args.shard:
        parser.error('--processes and --shard exclude each other')
    return args


def _span(text: str) -> range:
    first, _, end = text.partition(':')
    span = range(int(first or 0), int(end))
    if span.start < 0 or not span:
        raise argparse.ArgumentTypeError(
            f"'{text}' contains no epoch: expected FIRST:END, such as 0:300"
        )
    return span


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition('/')
    if not 0 <= int(index) < int(count):
        raise argparse.ArgumentTypeError(
            f"'{text}': I of I/N must be from 0 to N - 1"
        )
    return int(index), int(count)


def start_processes(count: int) -> None:
    """Run this command once for each shard; if one fails, stop all."""
    command = [sys.executable, *sys.argv, '--processes', '1']
    threads = str(max((os.cpu_count() or 1) // count, 1))
    running = []
    for i in range(count):
        env = {'OMP_NUM_THREADS': threads, **os.environ, 'LOCAL_RANK': str(i)}
        shard = ['--shard', f'{i}/{count}']
        running.append(subprocess.Popen([*command, *shard], env=env))
    try:
        while any(process.poll() is None for process in running):
            if any(process.poll() for process in running):
                break
            time.sleep(0.2)
        status = max(abs(process.poll() or 0) for process in running)
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            process.wait()
    sys.exit(status)


def choose_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device('cpu')
    local = int(os.environ.get('LOCAL_RANK', '0'))
    return torch.device('cuda', local % torch.cuda.device_count())


def build(cfg: Config) -> tuple[Any, Any, nn.Module, nn.Module]:
    """Build the dataset, the sampler, the tokenizer and the preprocessor."""
    init_default_scope(cfg.get('default_scope') or 'mmcae')
    model = cfg.model
    if model.get('target_generator') is None:
        raise ConfigError('the model of this config has no target_generator')
    loader = cfg.train_dataloader
    if loader.sampler.get('seed') is None:
        raise ConfigError(
            'the views depend on the seed of the run, and this config has '
            'none: set randomness.seed, here and in training'
        )
    tokenizer = MODELS.build(model.target_generator)
    tokenizer.init_weights()
    tokenizer.requires_grad_(False).eval()
    preprocessor = MODELS.build(
        model.get('data_preprocessor') or cfg.get('data_preprocessor')
    )
    check_pixel_norm(tokenizer, preprocessor)
    dataset = DATASETS.build(loader.dataset)
    sampler = DATA_SAMPLERS.build(
        loader.sampler, default_args=dict(dataset=dataset)
    )
    return dataset, sampler, tokenizer, preprocessor


def choose_slots(cfg: Config, view_pool: int, asked: range | None) -> range:
    """Return the epochs to fill, or the slots of a pool of views."""
    end = view_pool or cfg.get('train_cfg', {}).get('max_epochs')
    if asked is None and end is None:
        raise ConfigError(
            'the config has no train_cfg.max_epochs: choose the epochs, e.g. '
            '--epochs 0:10'
        )
    if view_pool and asked and asked.stop > view_pool:
        raise ConfigError(
            f'--epochs {asked.start}:{asked.stop}: the pool has only '
            f'{view_pool} slots'
        )
    return asked or range(end)


def tokenize(
    store: TokenStore,
    loader: DataLoader,
    tokenizer: nn.Module,
    preprocessor: nn.Module,
) -> Iterator[tuple[int, int, int]]:
    """Fill the store.

    Yields:
        For each batch, the number of views that were added, that are
        unreadable, and that the batch has.
    """
    for batch in loader:
        inputs, samples = preprocessor(batch).values()
        # Another process may have written some of the tokens already.
        samples = [sample for sample in samples if 'tokens' not in sample]
        written = unreadable = 0
        if samples:
            tokens = all_tokens(tokenizer, inputs[1]).cpu().numpy()
            for sample, row in zip(samples, tokens, strict=True):
                if sample.sample_idx.stands_in:
                    unreadable += 1
                else:
                    store.write(sample.sample_idx.view, row)
                    written += 1
        yield written, unreadable, len(batch['data_samples'])


def fill(
    args: argparse.Namespace,
    store: TokenStore,
    slots: range,
    shard: tuple[int, int],
    parts: tuple[Any, Any, nn.Module, nn.Module],
) -> None:
    """Compute the missing tokens of a shard, and print the progress."""
    dataset, sampler, tokenizer, preprocessor = parts
    first, count = shard
    name = f'[{first}/{count}] ' if count > 1 else ''
    begun = last = time.monotonic()
    done = added = unreadable = 0
    for slot in slots:
        todo = store.missing(slot, range(first, store.num_images, count))
        loader = DataLoader(
            dataset,
            batch_size=args.batch_size,
            sampler=[
                SampleIndex(i, (store.seed, slot, i), sampler.view_pool)
                for i in todo
            ],
            num_workers=args.num_workers,
            collate_fn=collate_views,
        )
        later = range(slot + 1, slots.stop)
        rest = store.bytes_to_fill(later) // (store.record_bytes * count)
        left = len(todo) + rest
        for new, lost, seen in tokenize(
            store, loader, tokenizer, preprocessor
        ):
            done, left = done + seen, left - seen
            added, unreadable = added + new, unreadable + lost
            now = time.monotonic()
            if now - last > _SECONDS_BETWEEN_LINES:
                last, rate = now, done / (now - begun)
                eta = timedelta(seconds=round(left / rate))
                print(
                    f'{name}epoch {slot}: {done:,} views, {rate:.1f} a '
                    f'second, {left:,} left, about {eta}',
                    flush=True,
                )
    seconds = time.monotonic() - begun
    print(
        f'{name}done: {added:,} views added in {seconds:.0f} s'
        + (f', {unreadable:,} not (unreadable)' if unreadable else ''),
        flush=True,
    )


def main() -> None:
    args = parse_args()
    if args.processes > 1:
        start_processes(args.processes)
    world = int(os.environ.get('WORLD_SIZE', '1'))
    shard = args.shard or (int(os.environ.get('RANK', '0')), world)
    cfg = load_config(args.config, args.cfg_options)
    cfg.token_store = args.store
    share_sampler_seed(cfg)
    use_token_store(cfg)
    parts = build(cfg)
    dataset, sampler, tokenizer, preprocessor = parts
    store = TokenStore.for_run(args.store, run_header(*parts))
    slots = choose_slots(cfg, sampler.view_pool, args.epochs)
    needed = store.bytes_to_fill(slots)
    if shard[0] == 0:
        print(
            f'{store.num_images:,} images x {len(slots)} '
            f'{"views" if sampler.view_pool else "epochs"} x '
            f'{store.record_bytes} bytes: {needed:,} bytes to fill',
            flush=True,
        )
    try:
        check_space(store.path, needed)
    except OSError as error:
        raise ConfigError(
            f'{error}; free some space, or choose fewer --epochs'
        ) from error
    skip_first_view(dataset)
    device = choose_device()
    tokenizer.to(device)
    preprocessor.to(device)
    fill(args, store, slots, shard, parts)


if __name__ == '__main__':
    run(main)
