# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make the folders of images that ``first_steps.py`` trains on.

    python benchmarks/own_folders.py OUT --icons ICONS --photos PHOTOS

ICONS is an icon theme with PNG files in ``SIZE/KIND/``, for example the
folder ``usr/share/icons/oxygen/base`` of Debian's ``oxygen-icon-theme``.
PHOTOS is a folder with photographs, for example ``usr/share/backgrounds`` of
``mate-backgrounds`` and ``gnome-backgrounds``. The pictures of scikit-image
and scikit-learn join them. Nothing here depends on chance.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

# Kinds of icons with enough different pictures to be classes.
KINDS = ('actions', 'apps', 'categories', 'devices', 'mimetypes', 'places')
CROP = 128


def photographs(photos: Path) -> list[Path]:
    """Large photographs, in the order of their names."""
    endings = {'.jpg', '.jpeg', '.png', '.webp'}
    found = sorted(p for p in photos.rglob('*') if p.suffix in endings)
    if len(found) < 12:
        raise SystemExit(f'{photos} has {len(found)} photographs, not 12')
    return found


def crops(paths: list[Path], count: int) -> Iterator[np.ndarray]:
    """``count`` RGB crops of ``CROP`` pixels, spread over the pictures."""
    each = -(-count // len(paths))
    left = count
    for path in paths:
        with Image.open(path) as opened:
            picture = opened.convert('RGB')
        picture.thumbnail((1024, 1024))
        pixels = np.asarray(picture)
        rows, columns = (
            np.linspace(0, side - CROP, each).astype(int)
            for side in pixels.shape[:2]
        )
        # The columns go through the picture in another order than the rows.
        order = np.arange(each) * 7 % each
        for row, column in zip(rows, columns[order], strict=True):
            if left:
                left -= 1
                yield pixels[row : row + CROP, column : column + CROP]


def twelve(out: Path, icons: Path, photos: Path) -> None:
    """12 photographs as they are, up to many megapixels."""
    for path in photographs(photos)[:12]:
        shutil.copy(path, out / path.name)


def mixed(out: Path, icons: Path, photos: Path) -> None:
    """Photographs, and the pictures of scikit-image and scikit-learn.

    These have many sizes and formats; some are gray, some have an alpha
    channel, and one is a GIF file.
    """
    import skimage
    import sklearn.datasets

    shipped = Path(skimage.__file__).parent / 'data'
    more = Path(sklearn.datasets.__file__).parent / 'images'
    pictures = [p for f in (shipped, more) for p in sorted(f.rglob('*'))]
    endings = {'.jpg', '.png', '.gif', '.tif', '.jpeg'}
    for path in photographs(photos) + pictures:
        if path.suffix in endings | {'.webp'}:
            shutil.copy(path, out / path.name)


def icons_300(out: Path, icons: Path, photos: Path) -> None:
    """300 icons of 48 pixels with alpha channels, in one folder."""
    for path in sorted(icons.glob('48x48/*/*.png'))[:300]:
        shutil.copy(path, out / f'{path.parent.name}_{path.name}')


def icons_5000(out: Path, icons: Path, photos: Path) -> None:
    """5,000 icons of 16 to 256 pixels, in folders of their kinds."""
    found = sorted(p for p in icons.rglob('*.png') if p.parent.name in KINDS)
    chosen = found[:: max(1, len(found) // 5000)][:5000]
    for path in chosen:
        kind = out / path.parent.name
        kind.mkdir(exist_ok=True)
        shutil.copy(path, kind / f'{path.parents[1].name}_{path.name}')


def four_channels(out: Path, icons: Path, photos: Path) -> None:
    """400 arrays ``(128, 128, 4)`` of bytes: RGB, and its local contrast."""
    for number, pixels in enumerate(crops(photographs(photos), 400)):
        gray = pixels.mean(2)
        slope = np.hypot(*np.gradient(gray)).clip(0, 255)
        stacked = np.dstack([pixels, slope.astype(np.uint8)])
        np.save(out / f'{number:04d}.npy', stacked)


def sixteen_bits(out: Path, icons: Path, photos: Path) -> None:
    """400 gray PNG files of 16 bits that use 4,096 of the 65,536 values."""
    for number, pixels in enumerate(crops(photographs(photos), 400)):
        gray = pixels.astype(float).mean(2) / 255 * 4095
        Image.fromarray(gray.astype(np.uint16)).save(out / f'{number:04d}.png')


FOLDERS: dict[str, Callable[[Path, Path, Path], None]] = {
    made.__name__: made
    for made in (
        twelve,
        mixed,
        icons_300,
        icons_5000,
        four_channels,
        sixteen_bits,
    )
}


def make(name: str, parent: Path, icons: Path, photos: Path) -> Path:
    """Make one of the folders, unless it is there.

    Args:
        name: A key of ``FOLDERS``.
        parent: Where to make the folder.
        icons: See the module.
        photos: See the module.

    Returns:
        The folder.
    """
    out = parent / name
    if not out.is_dir():
        unfinished = parent / f'{name}.unfinished'
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        FOLDERS[name](unfinished, icons, photos)
        unfinished.rename(out)
    return out


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the sources of the pictures."""
    parser.add_argument('--icons', type=Path, required=True)
    parser.add_argument('--photos', type=Path, required=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', type=Path)
    add_sources(parser)
    args = parser.parse_args()
    for name in FOLDERS:
        out = make(name, args.out, args.icons, args.photos)
        print(f'{out}: {sum(p.is_file() for p in out.rglob("*"))} files')


if __name__ == '__main__':
    main()
