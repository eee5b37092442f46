# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write scikit-learn's 1,797 handwritten digits as folders of PNG images.

    python tools/dataset_converters/digits.py data/digits

makes ``train/`` (1,400 images) and ``test/`` (397), 8 x 8 pixels, by a fixed
permutation. File names are ``<index>_<label>.png``, in one folder for each
label with ``--class-folders``; pretraining does not look at the labels.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NUM_TRAIN = 1400


def split_indices() -> dict[str, np.ndarray]:
    """Indices of the digits of ``train`` and ``test``."""
    order = np.random.default_rng(0).permutation(len(load_digits().images))
    return dict(train=order[:NUM_TRAIN], test=order[NUM_TRAIN:])


def write_digits(root: Path, class_folders: bool = False) -> None:
    """Write both folders below ``root``; existing files are replaced."""
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument(
        '--class-folders', action='store_true', help='a folder a label'
    )
    args = parser.parse_args()
    write_digits(args.root, args.class_folders)


if __name__ == '__main__':
    main()
