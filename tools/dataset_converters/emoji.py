# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Write the emoji of two npm packages as labeled folders of PNG images.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python tools/dataset_converters/emoji.py data/emoji \
        emoji-datasource-google-16.0.0.tgz emoji-datasource-twitter-16.0.0.tgz

writes train/CLASS/ and test/CLASS/: images of 64 x 64 pixels on white, in nine
classes (the groups of Unicode: animals, flags, food, ...). A fifth of the
emoji is the test set; all drawings of one emoji are in the same split.
Variants of the skin tone are left out. The drawings are Google's Noto Emoji
(Apache-2.0) and Twitter's Twemoji (CC-BY 4.0).
"""

import argparse
import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

TEST_SHARE = 0.2


def split_of(emoji: list[dict]) -> dict[str, str]:
    """Assign each emoji to a split by a fixed permutation.

    Args:
        emoji: Entries of ``emoji.json``.

    Returns:
        ``'train'`` or ``'test'`` for each code (``unified``).
    """
    codes = sorted(entry['unified'] for entry in emoji)
    order = np.random.default_rng(0).permutation(len(codes))
    num_test = round(TEST_SHARE * len(codes))
    return {
        codes[index]: 'test' if rank < num_test else 'train'
        for rank, index in enumerate(order)
    }


def flatten(content: bytes) -> Image.Image:
    """Put a transparent drawing on a white background."""
    image = Image.open(io.BytesIO(content)).convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(white, image).convert('RGB')


def write_emoji(root: Path, package: Path) -> int:
    """Write the drawings of one package below ``root``.

    Args:
        root: The folder to write to; existing files are replaced.
        package: The file that ``npm pack`` wrote.

    Returns:
        Number of images.

    Raises:
        ValueError: If the file is another package.
    """
    with tarfile.open(package) as archive:
        try:
            info = archive.extractfile('package/package.json')
            style = json.load(info)['name'].rpartition('-')[2]  # type: ignore
            table = archive.extractfile('package/emoji.json')
            emoji = json.load(table)  # type: ignore[arg-type]
        except (KeyError, ValueError):
            raise ValueError(
                f'{package} is not an emoji-datasource-NAME package of npm'
            ) from None
        emoji = [e for e in emoji if e['category'] != 'Component']
        splits = split_of(emoji)
        wanted = {
            f'package/img/{style}/64/{entry["image"]}': entry
            for entry in emoji
            if entry.get(f'has_img_{style}')
        }
        count = 0
        # A compressed archive is read fast only in its own order.
        for member in archive:
            entry = wanted.get(member.name)
            if entry is None:
                continue
            name = re.sub(r'[^a-z]+', '-', entry['category'].lower())
            folder = root / splits[entry['unified']] / name
            folder.mkdir(parents=True, exist_ok=True)
            file = archive.extractfile(member)
            assert file is not None
            name = f'{Path(entry["image"]).stem}_{style}.png'
            flatten(file.read()).save(folder / name)
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='folder to write to')
    parser.add_argument(
        'packages',
        type=Path,
        nargs='+',
        help='files that `npm pack` wrote (see above)',
    )
    args = parser.parse_args()
    for package in args.packages:
        print(f'{write_emoji(args.root, package)} images of {package.name}')
    for split in ('train', 'test'):
        print(f'{len(list((args.root / split).glob("*/*.png")))} in {split}/')


if __name__ == '__main__':
    main()
