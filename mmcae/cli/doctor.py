# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Describe this installation and test it for some seconds.

    mmcae doctor

Paste the output into an issue. It names no file of yours; your home folder
is written as `~`. The exit status is 1 if a test fails.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmcae.cli.quiet import quiet

HELP = 'describe this installation, and test it'

#: Optional packages that explain a difference between two machines.
_OPTIONAL = (
    *('numpy', 'pillow', 'opencv-python-headless', 'opencv-python'),
    *('simplejpeg', 'cykooz.resizer', 'safetensors', 'scikit-learn'),
    *('timm', 'transformers', 'onnx', 'onnxruntime', 'tensorboard'),
)
_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'CUDA_VISIBLE_DEVICES')
_FLAGS = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16', 'asimd', 'sve')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        '--no-test', action='store_true', help='leave the self-test out'
    )


def main(args: argparse.Namespace) -> int:
    """Print the description and the results of the tests."""
    for title, rows in (
        ('Versions', _versions()),
        ('Installation', _installation()),
        ('Machine', _machine()),
        ('Operators', _operators()),
    ):
        print(title)
        for name, value in rows:
            print(f'  {name:<28} {without_home(value)}')
    if args.no_test:
        return 0
    print('Self-test')
    failed = 0
    for name, test in TESTS.items():
        start = time.perf_counter()
        try:
            with quiet():
                note = test()
        except Exception as error:  # whatever it is, it is the finding
            failed += 1
            kind = type(error).__name__
            note = f'FAILED: {kind}: {str(error).partition(chr(10))[0]}'
        seconds = time.perf_counter() - start
        print(f'  {name:<28} {without_home(note)} ({seconds:.1f} s)')
    print(f'{failed} of {len(TESTS)} tests failed' if failed else 'All good')
    return int(failed > 0)


def without_home(text: str) -> str:
    """Write ``~`` for the home folder, which often holds a user's name."""
    home = os.path.expanduser('~')
    return text if len(home) < 2 else text.replace(home, '~')


def _versions() -> Iterator[tuple[str, str]]:
    from importlib import metadata

    from mmcae.utils.version_check import REQUIREMENTS, installed_version
    from mmcae.version import __version__

    yield 'mmcae', __version__
    yield 'Python', sys.version.partition(' ')[0]
    for requirement in REQUIREMENTS:
        found = installed_version(requirement)
        yield requirement.module, ' '.join(found) if found else 'not installed'
    for name in _OPTIONAL:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _installation() -> Iterator[tuple[str, str]]:
    from mmcae.config.search_path import list_configs, resource_root

    root = resource_root()
    package = Path(__file__).parents[1]
    clone = (package.parent / 'setup.cfg').is_file()
    yield 'mmcae is in', str(package)
    yield 'kind', 'a clone' if clone else 'a wheel'
    yield 'configs', f'{len(list_configs())} in {root.name}/configs'
    for name in sorted(os.environ):
        if name.startswith('MMCAE_') or name in _VARIABLES:
            yield name, os.environ[name]


def _machine() -> Iterator[tuple[str, str]]:
    import platform

    from mmcae.cli.planning.machine import (
        find_gpus,
        free_disk,
        usable_cores,
        usable_memory,
    )

    yield 'system', platform.platform()
    model, flags = _processor()
    yield 'processor', f'{model}; {" ".join(flags) or "no known extension"}'
    yield 'usable cores', str(usable_cores())
    yield 'available memory', f'{usable_memory() / 1e9:.1f} GB'
    yield 'free disk here', f'{free_disk(Path()) / 1e9:.1f} GB'
    temporary = Path(tempfile.gettempdir())
    yield 'free disk, temporary files', f'{free_disk(temporary) / 1e9:.1f} GB'
    gpus = find_gpus()
    if not gpus:
        yield 'GPU', 'none that CUDA shows'
    for gpu in gpus:
        size = f'{gpu.free / 1e9:.1f} of {gpu.memory / 1e9:.1f} GB free'
        yield 'GPU', f'{gpu.name}, {size}'


def _processor() -> tuple[str, list[str]]:
    import platform

    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    pairs = (line.partition(':')[::2] for line in lines)
    known = {name.strip(): value.strip() for name, value in pairs}
    flags = (known.get('flags') or known.get('Features') or '').split()
    model = known.get('model name') or platform.machine()
    return model, [flag for flag in _FLAGS if flag in flags]


def _operators() -> Iterator[tuple[str, str]]:
    import torch

    yield 'CUDA of torch', torch.version.cuda or 'none (a CPU build)'
    yield 'threads of torch', str(torch.get_num_threads())
    mkldnn = torch.backends.mkldnn.is_available()
    yield 'oneDNN', 'available' if mkldnn else 'not available'
    try:
        import mmcv._ext  # noqa: F401

        yield 'compiled operators of mmcv', 'available'
    except ImportError:
        yield 'compiled operators of mmcv', 'none (only detection needs them)'


def _trains() -> str:
    """Take steps of a small CAE; the loss is finite and weights move."""
    import torch

    model, batch = _small_cae('cpu')
    return _two_steps(torch, model, batch)


def _trains_on_gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return 'left out: no GPU'
    model, batch = _small_cae('cuda')
    with torch.autocast('cuda', torch.bfloat16):
        return _two_steps(torch, model, batch)


def _small_cae(device: str) -> tuple[Any, Any]:
    import torch
    from mmpretrain.structures import DataSample

    from mmcae.config.overrides import load_config
    from mmcae.registry import MODELS

    config = load_config('cae_tiny-p8_1xb32-coslr-80e_digits-32px')
    config.model.target_generator.pop('init_cfg')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    model.to(device)
    samples = []
    for _ in range(4):
        sample = DataSample()
        mask = torch.zeros(16, dtype=torch.bool)
        mask[torch.randperm(16)[:8]] = True
        sample.set_field(mask.reshape(4, 4), 'mask')
        samples.append(sample)
    images = [torch.rand(4, 3, 32, 32, device=device) for _ in range(2)]
    return model, (images, samples)


def _two_steps(torch: Any, model: Any, batch: Any) -> str:
    optimizer = torch.optim.AdamW(
        (p for p in model.parameters() if p.requires_grad), lr=1e-3
    )
    losses = []
    for _ in range(2):
        results = model(*batch, mode='loss')
        loss = sum(v for k, v in results.items() if 'loss' in k)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    if not all(value == value and abs(value) < 1e4 for value in losses):
        raise ArithmeticError(f'losses of two steps: {losses}')
    if losses[0] == losses[1]:
        raise ArithmeticError('the weights did not change')
    return f'good, losses {losses[0]:.4f} and {losses[1]:.4f}'


def _saves_and_reads() -> str:
    """A checkpoint comes back as it was written."""
    import torch

    from mmcae.checkpoint.reading import read_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'test.pth'
        weights = {'weight': torch.arange(1000.0)}
        torch.save({'state_dict': weights}, path)
        read = read_checkpoint(str(path))
    if not torch.equal(read['state_dict']['weight'], weights['weight']):
        raise ValueError('the numbers changed')
    return 'good'


def _refuses_code() -> str:
    """A checkpoint with code in it is refused by mmengine's own loader."""
    import torch
    from mmengine.runner import load_checkpoint

    from mmcae.checkpoint.errors import UnsafeCheckpointError

    with tempfile.TemporaryDirectory() as folder:
        path, made = Path(folder) / 'evil.pth', Path(folder) / 'made'
        torch.save({'state_dict': _Evil(str(made))}, path)
        try:
            load_checkpoint(torch.nn.Linear(1, 1), str(path))
        except UnsafeCheckpointError:
            if not made.exists():
                return 'good, refused'
        raise RuntimeError('code in a checkpoint was not refused')


class _Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


def _workers() -> str:
    """Two processes load data and hand it over in shared memory."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.zeros(8, 3, 224, 224))
    loader = DataLoader(data, batch_size=4, num_workers=2, timeout=60)
    return f'good, {sum(1 for _ in loader)} batches'


TESTS: dict[str, Callable[[], str]] = {
    'a small CAE trains': _trains,
    'the same on the GPU': _trains_on_gpu,
    'a checkpoint is read back': _saves_and_reads,
    'code in a checkpoint': _refuses_code,
    'data-loading workers': _workers,
}
