# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Check a folder of images before a training reads it.

Every image is decoded as the training will decode it. The report lists
unreadable files, which a training skips, and files that are probably not
meant to be there: very small or very large ones, images without color, and
copies of other files. The exit status is 1 if a file cannot be read.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from mmengine.utils import ProgressBar

from mmcae.checkpoint.printable import printable
from mmcae.datasets.folder_dataset import EXTENSIONS, find_images
from mmcae.datasets.image_check import BROKEN, KINDS, Image, examine

_CHUNK = 64


def examine_folder(
    folder: Path, workers: int, min_side: int, max_megapixels: float
) -> list[Image]:
    """Examine all images of a folder, with a progress bar.

    Args:
        folder: The folder.
        workers: Number of processes.
        min_side: See `examine`.
        max_megapixels: See `examine`.

    Returns:
        The images in the order of their names. A copy is reported at the
        later name.
    """
    root = str(folder)
    paths = [
        os.path.relpath(path, root) for path in find_images(root, EXTENSIONS)
    ]
    examine_one = partial(
        examine,
        folder=root,
        min_side=min_side,
        max_megapixels=max_megapixels,
    )
    images = []
    # Not multiprocessing.Pool, which waits forever for a killed process.
    with ProcessPoolExecutor(workers) as pool:
        bar = ProgressBar(len(paths), file=sys.stderr)
        for image in pool.map(examine_one, paths, chunksize=_CHUNK):
            images.append(image)
            bar.update()
    print(file=sys.stderr)
    first: dict[str, str] = {}
    for image in images:
        original = first.setdefault(image.digest, image.path)
        if image.digest and original != image.path:
            image.faults.append(('duplicate', f'of {original}'))
    return images


def report(images: list[Image], limit: int) -> str:
    """Describe the images as text.

    Args:
        images: What `examine_folder` found.
        limit: How many files of each kind to name.
    """
    found = defaultdict(list)
    for image in images:
        for kind, detail in image.faults:
            found[kind].append(f'{printable(image.path)}: {printable(detail)}')
    good = sum(not image.faults for image in images)
    lines = [f'{len(images):,} images, {good:,} without a remark']
    for kind, meaning in KINDS.items():
        named = found[kind]
        if not named:
            continue
        lines.append(f'{len(named):,} {kind} ({meaning})')
        lines += [f'  {name}' for name in named[:limit]]
        if len(named) > limit:
            lines.append(f'  ... and {len(named) - limit:,} more')
    return '\n'.join(lines)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='read with its subfolders')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), metavar='N',
        help='number of processes (default: number of cores)',
    )  # fmt: skip
    parser.add_argument(
        '--min-side', type=int, default=32, metavar='PIXELS',
        help='a shorter side makes an image tiny (default: 32)',
    )  # fmt: skip
    parser.add_argument(
        '--max-megapixels', type=float, default=50, metavar='N',
        help='a larger image is huge: slow to decode (default: 50)',
    )  # fmt: skip
    parser.add_argument(
        '--limit', type=int, default=20, metavar='N',
        help='files of each kind to name (default: 20)',
    )  # fmt: skip
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write all files to FILE'
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if not args.folder.is_dir():
        print(f'error: {args.folder} is not a folder', file=sys.stderr)
        return 2
    images = examine_folder(
        args.folder, args.workers, args.min_side, args.max_megapixels
    )
    if not images:
        endings = ' '.join(EXTENSIONS)
        print(f'error: no image ({endings}) in {args.folder}', file=sys.stderr)
        return 2
    print(report(images, args.limit))
    if args.json:
        faulty = {i.path: dict(i.faults) for i in images if i.faults}
        args.json.write_text(json.dumps(faulty, indent=2))
    kinds = {kind for image in images for kind, _ in image.faults}
    return int(any(kind in kinds for kind in BROKEN))


if __name__ == '__main__':
    sys.exit(main())
