# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure how fast images become batches, with mmcae's pipeline and others.

    python benchmarks/dataloader.py                 # generated photographs
    python benchmarks/dataloader.py --folder PATH --gpu-speed 2000

Measures the CPU time of one core. The pipelines run in turn, and the median
over the rounds counts. Without ``--folder``, the images are parts of
scikit-learn's two photographs: about 500 x 375 pixels, JPEG of quality 90.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from PIL import Image
from speed.machine import describe_machine, load_average, machine_line
from speed.pipelines import (
    OURS,
    PEER,
    STAGES,
    VIEWS,
    Pipelines,
    build_pipelines,
)

from mmcae.datasets import LoadImage, SampleIndex, sample_rng
from mmcae.datasets.folder_dataset import EXTENSIONS, find_images
from mmcae.datasets.transforms.resize import crop, resize, sample_crop_box

PACKAGES = (
    *('torch', 'torchvision', 'pillow', 'opencv-python', 'simplejpeg'),
    'cykooz.resizer',
)

Times = dict[str, dict[str, float]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--folder', type=Path, help='folder with images, at any depth'
    )
    parser.add_argument(
        '--images',
        type=int,
        default=100,
        help='number of images (default: %(default)s)',
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=7,
        help='number of measured rounds (default: %(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=32,
        help='images in a batch (default: %(default)s)',
    )
    parser.add_argument(
        '--gpu-speed',
        type=float,
        default=1000,
        help='images per second that a GPU trains on, to say how many cores '
        'it needs (default: %(default)s)',
    )
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args(argv)
    for name in ('images', 'rounds', 'batch_size', 'gpu_speed'):
        if getattr(args, name) <= 0:
            parser.error(f'--{name.replace("_", "-")} must be positive')
    return args


def write_photos(folder: Path, number: int) -> None:
    """Write different parts of two photographs as JPEG files."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    rng = np.random.default_rng(0)
    for i in range(number):
        photo = photos[i % len(photos)]
        height = int(rng.integers(280, photo.shape[0] + 1))
        width = int(rng.integers(400, photo.shape[1] + 1))
        top = int(rng.integers(photo.shape[0] - height + 1))
        left = int(rng.integers(photo.shape[1] - width + 1))
        part = Image.fromarray(photo[top : top + height, left : left + width])
        size = int(rng.integers(440, 561)), int(rng.integers(330, 421))
        part = part.resize(size, Image.Resampling.BICUBIC)
        part.save(folder / f'{i:04d}.jpg', quality=90)


def run_round(
    pipeline: Sequence[Callable],
    paths: Sequence[str],
    batch_size: int,
    epoch: int,
) -> dict[str, float]:
    """Make batches of all images once.

    Returns:
        By stage, the seconds of CPU time per image.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    batch = []
    np.random.seed(epoch)
    for i, path in enumerate(paths):
        sample = SampleIndex(i, (0, epoch, i))
        results = dict(img_path=path, sample_idx=sample)
        for stage, transform in zip(STAGES, pipeline, strict=False):
            start = time.process_time()
            results = transform(results)
            seconds[stage] += time.process_time() - start
        batch.append(results)
        if len(batch) == batch_size or i + 1 == len(paths):
            start = time.process_time()
            default_collate(batch)
            seconds['collate'] += time.process_time() - start
            batch = []
    return {stage: total / len(paths) for stage, total in seconds.items()}


def measure(
    pipelines: Pipelines,
    paths: Sequence[str],
    rounds: int,
    batch_size: int,
) -> Times:
    """Run the pipelines in turn, after one round that does not count.

    Returns:
        By pipeline: the median seconds per image of each stage, and of all
        stages together (``'total'``).
    """
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in pipelines}
    for epoch in range(rounds + 1):
        for name, pipeline in pipelines.items():
            run = run_round(pipeline, paths, batch_size, epoch)
            if epoch:
                runs[name].append({**run, 'total': sum(run.values())})
    return {
        name: {
            stage: statistics.median(run[stage] for run in of_one)
            for stage in (*STAGES, 'total')
        }
        for name, of_one in runs.items()
    }


def measure_masks(
    pipelines: Pipelines, rounds: int, number: int = 500
) -> dict[str, float]:
    """Masks per second of the mask generators alone."""
    seconds: dict[str, list[float]] = {PEER: [], 'mmcae': []}
    for epoch in range(rounds):
        for name, runs in seconds.items():
            generate = pipelines[PEER if name == PEER else OURS[0]][3]
            np.random.seed(epoch)
            start = time.process_time()
            for i in range(number):
                generate(dict(sample_idx=SampleIndex(i, (0, epoch, i))))
            runs.append(time.process_time() - start)
    return {
        name: number / statistics.median(runs)
        for name, runs in seconds.items()
    }


def compare_pixels(paths: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Compare resized crops with those of PIL.

    Returns:
        The mean and the largest difference in gray levels, by backend and
        view. The backends are our fast one, and OpenCV, which mmpretrain uses.
    """
    errors: dict[tuple[str, str], list[np.ndarray]] = {}
    for i, path in enumerate(paths):
        img = LoadImage(backend='pil').load(path)
        rng = sample_rng({'sample_idx': SampleIndex(i, (0, 0, i))}, 'crop')
        part = crop(img, sample_crop_box(rng, *img.shape[:2]))
        for view, (side, kernel) in VIEWS.items():
            size = (side, side)
            expected = resize(part, size, kernel, 'pil').astype(int)
            fast = resize(part, size, kernel, 'fast')
            peer = mmcv.imresize(part, size, interpolation=kernel)
            for who, found in (('mmcae fast', fast), (PEER, peer)):
                error = np.abs(found - expected)
                errors.setdefault((who, view), []).append(error)
    table: dict[str, dict[str, list[float]]] = {}
    for (who, view), parts in errors.items():
        table.setdefault(who, {})[view] = [
            float(np.mean([error.mean() for error in parts])),
            float(max(error.max() for error in parts)),
        ]
    return table


def count_cores(seconds_per_image: float, gpu_speed: float) -> int:
    """Number of cores that load as many images per second as a GPU needs."""
    return math.ceil(seconds_per_image * gpu_speed - 1e-9)


def format_table(times: Times, gpu_speed: float) -> str:
    """A Markdown table: milliseconds per image, one row per pipeline."""
    stages = ' | '.join(STAGES)
    lines = [
        f'| ms per image | {stages} | whole | images/s | x | '
        f'cores for {gpu_speed:g}/s |',
        '|' + '---|' * (len(STAGES) + 5),
    ]
    for name, row in times.items():
        cells = [f'{1000 * row[stage]:.2f}' for stage in (*STAGES, 'total')]
        total = row['total']
        ratio = times[PEER]['total'] / total
        name = f'mmcae, {name}' if name in OURS else name
        cells += [f'{1 / total:.0f}', f'{ratio:.2f}']
        cells.append(str(count_cores(total, gpu_speed)))
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def find_version(package: str) -> str | None:
    """The installed version of a package; ``None`` if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextmanager
def find_or_write(folder: Path | None, number: int) -> Iterator[list[str]]:
    """List the images of a folder, or generate some in a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            write_photos(Path(made), number)
            yield find_images(made, EXTENSIONS)
        return
    paths = find_images(str(folder), EXTENSIONS)[:number]
    if not paths:
        raise SystemExit(f'no image in {folder} or below')
    yield paths


def main(argv: Sequence[str] | None = None) -> dict:
    args = parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    warnings.simplefilter('ignore')
    init_default_scope('mmpretrain')
    pipelines = build_pipelines()
    with find_or_write(args.folder, args.images) as paths:
        size = statistics.mean(Path(path).stat().st_size for path in paths)
        result = dict(
            images=len(paths),
            mean_bytes=round(size),
            ours=OURS,
            times=measure(pipelines, paths, args.rounds, args.batch_size),
            masks_per_second=measure_masks(pipelines, args.rounds),
            difference_from_pil=compare_pixels(paths),
            machine=describe_machine(torch.device('cpu')),
            load_average=load_average(),
            versions={name: find_version(name) for name in PACKAGES},
        )
    print(machine_line(result['machine']))
    print(f'{len(paths)} images, {size / 1000:.0f} kB on average\n')
    print(format_table(result['times'], args.gpu_speed), '\n')
    masks = result['masks_per_second']
    print(
        f'masks per second: {PEER} {masks[PEER]:.0f}, mmcae '
        f'{masks["mmcae"]:.0f} ({masks["mmcae"] / masks[PEER]:.1f} x)'
    )
    for who, views in result['difference_from_pil'].items():
        for view, (mean, largest) in views.items():
            print(
                f'{who}, {view}: {mean:.3f} gray levels from PIL on '
                f'average, {largest:.0f} at most'
            )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + '\n')
    return result


if __name__ == '__main__':
    main()
