# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Time a few steps of a config, without a run."""

import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Steps that are timed, at most, and seconds after which no more are taken.
MOST_STEPS, MOST_SECONDS = 10, 10.0


@dataclass(frozen=True)
class StepTime:
    """The cost of a batch.

    Attributes:
        seconds: With the wait for its images, median.
        waiting: Share of them that was waiting for images.
        memory: Bytes: the GPU's peak, or the process's.
        threads: Threads of PyTorch that were faster; 0 leaves them.
    """

    seconds: float
    waiting: float
    memory: int
    threads: int = 0


def measure(config: Path) -> StepTime:
    """Take some steps of a config's training and time them.

    A tokenizer that is not trained yet keeps its random weights, which costs
    the same time.

    Args:
        config: A config with ``model``, ``train_dataloader`` and
            ``optim_wrapper``.
    """
    import torch
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner
    from mmpretrain.registry import MODELS

    import mmcae.engine
    import mmcae.models  # noqa: F401
    from mmcae.config.overrides import load_config

    cfg = load_config(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        generator = cfg.model.get('target_generator')
        if generator is not None:
            generator.pop('init_cfg', None)
        if 'data_preprocessor' in cfg:
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        loader_cfg = Config(cfg.train_dataloader.to_dict())
        loader_cfg.persistent_workers = False
        # No more images than are needed: a cache decodes all at the start.
        loader_cfg.dataset.indices = _some(
            loader_cfg.dataset, loader_cfg.batch_size
        )
        loader = Runner.build_dataloader(loader_cfg._cfg_dict, seed=0)
        model = MODELS.build(cfg.model)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        model.init_weights()
        model.to(device).train()
        wrapper = _build_wrapper(model, cfg.optim_wrapper)
        if device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        # One thread is faster for a small model, by far if the cores are busy.
        usual = torch.get_num_threads()
        candidates = sorted({1, usual}) if device == 'cpu' else [usual]
        found = {}
        for threads in candidates:
            torch.set_num_threads(threads)
            times, waits = _time_steps(torch, model, wrapper, loader, device)
            found[threads] = statistics.median(times), statistics.median(waits)
        torch.set_num_threads(usual)
    if device == 'cuda':
        memory = torch.cuda.max_memory_allocated()
        del model, wrapper
        torch.cuda.empty_cache()
    else:
        memory = _peak_memory()
    threads = min(found, key=lambda count: found[count])
    seconds, waiting = found[threads]
    return StepTime(
        seconds, waiting / seconds, memory, threads if device == 'cpu' else 0
    )


def _peak_memory() -> int:
    """The process's peak in bytes; 0 on Windows, which does not tell it."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak


def _some(dataset: Any, batch_size: int) -> int:
    """How many images of a dataset fill the batches of a measurement."""
    from mmpretrain.registry import DATASETS

    options = dict(lazy_init=True)
    if 'cache' in dataset:
        options['cache'] = False
    plain = DATASETS.build(dict(dataset, **options))
    batches = 1 if dataset.get('cache') else 4
    return min(len(plain.load_data_list()), batches * batch_size)


def _build_wrapper(model: Any, cfg: Any) -> Any:
    from mmengine.optim import build_optim_wrapper

    return build_optim_wrapper(model, cfg)


def _time_steps(
    torch: Any, model: Any, wrapper: Any, loader: Any, device: str
) -> tuple[list[float], list[float]]:
    """Seconds of each step after the first, and of its wait for images."""
    times, waits = [], []
    started = time.perf_counter()
    batches = iter(loader)
    for step in range(MOST_STEPS + 1):
        begin = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            batches = iter(loader)
            batch = next(batches)
        loaded = time.perf_counter()
        model.train_step(batch, wrapper)
        if device == 'cuda':
            torch.cuda.synchronize()
        end = time.perf_counter()
        if step:  # the first one makes kernels, memory and workers
            times.append(end - begin)
            waits.append(loaded - begin)
        if times and end - started > MOST_SECONDS:
            break
    return times, waits
