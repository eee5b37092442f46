# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a plan needs to know about a folder of images."""

import hashlib
import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Images that are decoded, at most, and seconds for it.
MOST_SAMPLED, MOST_SECONDS = 400, 15.0
#: Bytes that are hashed, at most, in the search for copies.
_MOST_HASHED = 2_000_000_000
#: The largest share of images that cannot be used and are left out.
MOST_ODD = 0.2
#: Types of 16-bit gray. PIL has some of them as int32.
_DEEP_GRAY = ('uint16', 'int32')
_DEEP_MODES = ('I', 'F')  # and 'I;16' and the like
_NOT_IMAGES = ('.txt', '.csv', '.json', '.md', '.db', '.xml', '.yml', '.ini')


@dataclass(frozen=True)
class Folder:
    """A summary of a folder, or of a list of files.

    Sizes and shares come from the images that were looked at.

    Attributes:
        name: As the user gave it.
        images: Number of image files.
        short_side: Median of the short sides, in pixels.
        sides: The 10th and the 90th percentile of the short sides.
        megapixels: Median.
        decoded_bytes: Of all images in memory.
        file_bytes: Of all files.
        formats: Number of images looked at for each format.
        sampled: Number of images looked at.
        unreadable: Share of those that cannot be read.
        first_unreadable: One of them, with the reason.
        gray: Share without color.
        alpha: Share with transparency.
        deep: Share with more than 8 bits.
        duplicates: Files with the bytes of another one; at least that many.
        subfolders: Direct subfolders with images, and their images.
        others: Files that are no images, by extension.
        mean: Of the pixels, RGB, from 0 to 255.
        std: Their standard deviation.
        load_seconds: To decode an image, mean.
        is_list: Whether it is a text file that names images.
        channels: Channels of the images; 3 for all 8-bit gray and color.
        depth: NumPy's name of their type.
        value_range: Of ``mmcae.LoadImage``, measured; None for 8 bits.
    """

    name: str
    images: int
    short_side: int = 256
    sides: tuple[int, int] = (256, 256)
    megapixels: float = 0.1
    decoded_bytes: int = 0
    file_bytes: int = 0
    formats: tuple[tuple[str, int], ...] = ()
    sampled: int = 0
    unreadable: float = 0.0
    first_unreadable: str = ''
    gray: float = 0.0
    alpha: float = 0.0
    deep: float = 0.0
    duplicates: int = 0
    subfolders: tuple[tuple[str, int], ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    mean: tuple[float, ...] = (115.0, 110.0, 102.0)
    std: tuple[float, ...] = (71.0, 69.0, 71.0)
    load_seconds: float = 0.0
    is_list: bool = False
    channels: int = 3
    depth: str = 'uint8'
    value_range: tuple[tuple[float, float], ...] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether every image becomes 8-bit color."""
        return self.channels == 3 and self.depth == 'uint8'


def look_at_folder(path: Path) -> Folder:
    """Look at a folder, or at a text file that lists images.

    Every file's size is read, some hundred images are decoded.

    Args:
        path: The folder or the file.

    Raises:
        FileNotFoundError: If there is none, or it has no image.
        ValueError: If images of several kinds are mixed.
    """
    from mmcae.datasets.channel_statistics import ChannelSample
    from mmcae.datasets.image_check import BROKEN, examine

    paths, others = _find(path)
    root = path if path.is_dir() else path.parent
    sizes = [_size(file) for file in paths]
    # Spread over the folder, because subfolders differ; in the same order
    # each time, because a plan should not change by itself.
    count = min(len(paths), MOST_SAMPLED)
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    channels, depth = common_kind(chosen)
    is_plain = (channels, depth) == (3, 'uint8')
    sample = ChannelSample()
    start, found = time.perf_counter(), []
    for file in chosen:
        found.append(
            examine(file, '', 0, float('inf'))
            if is_plain
            else _examine_channels(file, channels, sample)
        )
        if len(found) >= 20 and time.perf_counter() - start > MOST_SECONDS:
            break
    seconds = (time.perf_counter() - start) / len(found)
    good = [image for image in found if image.size != (0, 0)]
    bad = [
        f'{os.path.relpath(image.path, root)} ({reason})'
        for image in found
        for kind, reason in image.faults
        if kind in BROKEN
    ]
    if not good:
        raise FileNotFoundError(
            f'none of {len(found)} files looked at in {path} can be read as '
            f'an image, the first is {bad[0]}'
        )
    short = sorted(min(image.size) for image in good)
    pixels = sorted(width * height for width, height in _sizes_of(good))
    value_range = None
    if is_plain:
        mean, std = _moments(good)
    else:
        value_range, mean, std, _ = sample.measure()
    # Other images are in memory with 4 bytes for a number, unless 8 bits are.
    number = channels * (1 if depth == 'uint8' else 4)
    return Folder(
        name=str(path),
        images=len(paths),
        short_side=short[len(short) // 2],
        sides=(short[len(short) // 10], short[len(short) * 9 // 10]),
        megapixels=pixels[len(pixels) // 2] / 1e6,
        decoded_bytes=number * sum(pixels) // len(pixels) * len(paths),
        file_bytes=sum(sizes),
        formats=_counted(Counter(image.format for image in good)),
        sampled=len(found),
        unreadable=len(bad) / len(found),
        first_unreadable=bad[0] if bad else '',
        gray=_share(good, lambda image: 'gray' in dict(image.faults)),
        alpha=_share(good, lambda image: image.mode in ('RGBA', 'LA', 'PA')),
        deep=_share(good, lambda image: image.mode[:1] in _DEEP_MODES),
        duplicates=count_copies(paths, sizes),
        subfolders=_subfolders(paths, root) if path.is_dir() else (),
        others=_counted(others),
        mean=mean,
        std=std,
        load_seconds=seconds,
        is_list=not path.is_dir(),
        channels=channels,
        depth=depth,
        value_range=value_range,
    )


def common_kind(paths: list[str]) -> tuple[int, str]:
    """Find the channels and the type that the images have in common.

    8-bit gray and color are one kind, and become color; transparency is not
    counted. Among them, a minority of 16-bit gray images becomes 8-bit color,
    too, and few images of other kinds do not count: those that the decoder
    cannot make 8-bit color are left out, as broken images are.

    Args:
        paths: The images; those that cannot be read do not count.

    Returns:
        The number of channels and NumPy's name of the type.

    Raises:
        ValueError: If there are several kinds.
    """
    from mmcae.datasets.transforms.read_pixels import pixel_format

    kinds: Counter = Counter()
    for path in paths:
        try:
            found = pixel_format(path)
        except ImportError:
            raise
        except Exception:  # the decoder is going to say what is wrong
            continue
        colors = found.channels - found.alpha
        kind = (3, 'uint8') if found.is_photo else (colors, found.depth)
        if colors == 1 and found.depth in _DEEP_GRAY:
            kind = (1, 'uint16')
        kinds[kind] += 1
    if not kinds:
        return 3, 'uint8'
    (common, most), *others = kinds.most_common()
    if common == (3, 'uint8'):
        others = [other for other in others if other[0] != (1, 'uint16')]
        if sum(count for _, count in others) <= MOST_ODD * len(paths):
            return common
    if others:
        other, count = others[0]
        raise ValueError(
            f'images of several kinds are mixed: {most:,} of those looked at '
            f'have {kind_text(*common)}, and {count:,} have '
            f'{kind_text(*other)}; a model takes one kind, so give a folder '
            'for each'
        )
    return common


def kind_text(channels: int, depth: str) -> str:
    """Say what images are, such as ``4 channels of uint16``."""
    if (channels, depth) == (3, 'uint8'):
        return '8-bit gray or color'
    return f'{channels} channel{"s" if channels > 1 else ""} of {depth}'


def _examine_channels(path: str, channels: int, sample: Any) -> Any:
    """Look at an image that is not 8-bit color, and add it to the sample."""
    from mmcae.datasets.channel_statistics import load_pixels
    from mmcae.datasets.image_check import Image
    from mmcae.datasets.transforms.read_pixels import pixel_format

    try:
        name = pixel_format(path).name
        pixels = load_pixels(path, channels)
        sample.add(pixels)
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        return Image(path, '', [('unreadable', reason)])
    height, width = pixels.shape[:2]
    return Image(path, '', [], (width, height), name)


def count_images(path: Path) -> int:
    """How many images a folder or a list has now."""
    return len(_find(path)[0])


def count_copies(paths: list[str], sizes: list[int]) -> int:
    """Count files that have the bytes of another one.

    Only files of equal size are read, up to 2 GB in all.
    """
    by_size = defaultdict(list)
    for path, size in zip(paths, sizes, strict=True):
        by_size[size].append(path)
    copies, read = 0, 0
    for size, group in sorted(by_size.items()):
        if size == 0 or len(group) == 1:
            continue
        seen = set()
        for path in group:
            if read > _MOST_HASHED:
                return copies
            read += size
            try:
                with open(path, 'rb') as file:
                    digest = hashlib.sha256(file.read()).digest()
            except OSError:
                continue
            copies += digest in seen
            seen.add(digest)
    return copies


def _find(path: Path) -> tuple[list[str], Counter]:
    """The images, and the other files by extension."""
    from mmcae.datasets.folder_dataset import (
        EXTENSIONS,
        images_below,
        listed_images,
    )

    if path.is_file():
        if path.suffix.lower() in (*EXTENSIONS, '.npy'):
            raise FileNotFoundError(
                f'{path} is an image: give a folder, or a text file that '
                'names images, one a line'
            )
        paths = listed_images(str(path))
        missing = [file for file in paths if not os.path.isfile(file)]
        if missing or not paths:
            first = f', such as {missing[0]}' if missing else ''
            raise FileNotFoundError(
                f'{path} names {len(paths)} files, and {len(missing)} are '
                f'not there{first}'
            )
        return paths, Counter()
    if not path.is_dir():
        raise FileNotFoundError(f'there is no folder {path}')
    paths = images_below(str(path))
    used = {os.path.splitext(file)[1].lower() for file in paths}
    others: Counter = Counter()
    for _, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            if name[0] != '.' and ending not in (
                *EXTENSIONS,
                *used,
                *_NOT_IMAGES,
            ):
                others[ending or 'no extension'] += 1
    if not paths:
        there = ', '.join(f'{n:,} {kind}' for kind, n in others.most_common(3))
        raise FileNotFoundError(
            f'no image in {path}'
            + (f' (it has {there} files)' if there else '')
            + f': the file extensions are {" ".join(EXTENSIONS)} .npy'
        )
    return paths, others


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _sizes_of(images: list[Any]) -> list[tuple[int, int]]:
    return [image.size for image in images]


def _share(images: list[Any], wanted: Any) -> float:
    return sum(map(bool, map(wanted, images))) / len(images)


def _counted(counter: Counter) -> tuple[tuple[str, int], ...]:
    return tuple(counter.most_common())


def _moments(images: list[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels of all images."""
    means, deviations = [], []
    for channel in range(3):
        mean = sum(image.mean[channel] for image in images) / len(images)
        square = sum(image.square[channel] for image in images) / len(images)
        means.append(round(mean, 1))
        # Blank images would divide by 0.
        deviations.append(round(max(square - mean**2, 1.0) ** 0.5, 1))
    return tuple(means), tuple(deviations)


def _subfolders(paths: list[str], root: Path) -> tuple[tuple[str, int], ...]:
    first = Counter(Path(path).relative_to(root).parts[0] for path in paths)
    return tuple(
        (name, count)
        for name, count in sorted(first.items())
        if (root / name).is_dir()
    )
