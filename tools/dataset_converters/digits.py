# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Write scikit-learn's 1,797 handwritten digits as folders of PNG images.

    python tools/dataset_converters/digits.py data/digits

writes train/ (1,400 images) and test/ (397 images) of 8 x 8 pixels, split by a
fixed permutation. The file names are <index>_<label>.png. Pretraining does not
use the labels. The evaluation configs do, and read one folder for each label:

    python tools/dataset_converters/digits.py data/digits-classes \
        --class-folders
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NUM_TRAIN = 1400


def split_indices() -> dict[str, np.ndarray]:
    """Return the indices of the digits of ``train`` and ``test``."""
    order = np.random.default_rng(0).permutation(len(load_digits().images))
    return dict(train=order[:NUM_TRAIN], test=order[NUM_TRAIN:])


def write_digits(root: Path, class_folders: bool = False) -> None:
    """Write both folders below ``root``; existing files are replaced.

    Raises:
        FileExistsError: If ``root`` has the digits in the other layout, so
            that each image would exist twice.
    """
    for split in split_indices():
        others = list((root / split).glob('*.png' if class_folders else '*/*'))
        if others:
            present = 'one folder' if class_folders else 'class folders'
            raise FileExistsError(
                f'{root / split} has the images in {present} already; in '
                'both layouts, each image would exist twice: choose another '
                'folder'
            )
    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    for split, part in split_indices().items():
        for index in part:
            label = str(digits.target[index])
            folder = root / split / (label if class_folders else '')
            folder.mkdir(parents=True, exist_ok=True)
            name = f'{index:04d}_{label}.png'
            Image.fromarray(pixels[index]).save(folder / name)
        print(f'{len(part)} images in {root / split}')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument(
        '--class-folders',
        action='store_true',
        help='write one folder for each label',
    )
    args = parser.parse_args()
    try:
        write_digits(args.root, args.class_folders)
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
