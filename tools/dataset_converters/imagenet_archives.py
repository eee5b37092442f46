# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Unpack ImageNet's original archives into class folders.

torchvision's ``parse_train_archive`` and ``parse_val_archive`` are not used:
before Python 3.14 they extract without a filter, so a hostile archive can
write outside the target folder. They also fail when they are run again after
an interruption, and refuse every archive without the official MD5, such as a
subset; only their names and checksums are taken.
"""

import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imagenet_labels import image_number, validation_wnids
from imagenet_layout import LABELS, NUM_IMAGES
from mmengine.utils import ProgressBar
from torchvision.datasets.imagenet import ARCHIVE_META
from torchvision.datasets.utils import check_integrity

_IMAGES_PER_UPDATE = 1000


@dataclass
class Extraction:
    """What happened to the images of one archive.

    Attributes:
        written: The number of files that were written.
        kept: The number of files that existed already.
        differing: Existing files of another size, which were not replaced.
        classes: The classes found in the archive.
    """

    written: int = 0
    kept: int = 0
    differing: list[Path] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """The number of images in the archive."""
        return self.written + self.kept + len(self.differing)

    def problems(self, split: str, whole: bool) -> list[str]:
        """Describe each problem in a sentence.

        Args:
            split: ``'train'`` or ``'val'``.
            whole: Whether the archive should hold all of the split.
        """
        found = []
        if self.differing:
            found.append(
                f'{len(self.differing)} files exist already with another size '
                f'than in the archive, e.g. {self.differing[0]}; nothing was '
                'overwritten: remove or move them and run again'
            )
        complete = (len(LABELS), NUM_IMAGES[split])
        if whole and (len(self.classes), self.total) != complete:
            found.append(
                f'the archive holds {self.total:,} images of '
                f'{len(self.classes):,} classes, ImageNet has '
                f'{complete[1]:,} of {complete[0]:,}: download it again, or '
                'pass --subset if this is intended'
            )
        return found


def find_archives(source: Path, md5: bool = False) -> dict[str, Path]:
    """Find the archives of images in a folder.

    Args:
        source: The folder.
        md5: Whether to compare checksums, which reads every byte.

    Returns:
        The path of each archive, by split.

    Raises:
        FileNotFoundError: If there is no archive.
        ValueError: If a checksum is not the official one.
    """
    names = {split: ARCHIVE_META[split][0] for split in ('train', 'val')}
    archives = {
        split: source / name
        for split, name in names.items()
        if (source / name).is_file()
    }
    if not archives:
        raise FileNotFoundError(
            f'there is no {" or ".join(names.values())} in {source}'
        )
    for split, path in archives.items():
        checksum = ARCHIVE_META[split][1]
        if md5 and not check_integrity(path, checksum):
            raise ValueError(
                f'{path}: the MD5 checksum is not {checksum}: download the '
                'archive again'
            )
    return archives


def prepare(
    archives: dict[str, Path], root: Path, labels: Path
) -> dict[str, Extraction]:
    """Write class folders; existing files are kept.

    Args:
        archives: The archives by split.
        root: The folder in which ``train/`` and ``val/`` are written.
        labels: For ``val``: see :func:`validation_wnids`.

    Raises:
        FileNotFoundError: If the labels are missing.
        ValueError: If an archive is damaged, or has a member that an
            archive of ImageNet does not have. Files that were written
            before the error stay.
    """
    wnids = validation_wnids(labels) if 'val' in archives else {}
    return {
        split: _unpack(archive, split, root / split, wnids)
        for split, archive in archives.items()
    }


def _unpack(
    archive: Path, split: str, folder: Path, wnids: dict[int, str]
) -> Extraction:
    done = Extraction()
    bar = ProgressBar(NUM_IMAGES[split] // _IMAGES_PER_UPDATE)
    try:
        with tarfile.open(archive, 'r:') as tar:
            train = split == 'train'
            images = _train_images(tar) if train else _val_images(tar, wnids)
            for source, member, wnid, name in images:
                target = folder / wnid / name
                done.classes.add(wnid)
                size = target.stat().st_size if target.exists() else 0
                if size == 0:  # missing, or emptied by a power failure
                    _write(source, member, target)
                    done.written += 1
                elif size == member.size:
                    done.kept += 1
                else:
                    done.differing.append(target)
                if done.total % _IMAGES_PER_UPDATE == 0:
                    bar.update()
    except tarfile.TarError as error:
        raise ValueError(
            f'{archive} is damaged or incomplete ({error}): download it '
            'again; a second run keeps the files that were unpacked'
        ) from error
    print()  # ends the line of the progress bar
    return done


_Image = tuple[tarfile.TarFile, tarfile.TarInfo, str, str]


def _train_images(tar: tarfile.TarFile) -> Iterator[_Image]:
    """Yield archive, member, class and file name of each image."""
    for outer, name in _members(tar):
        wnid, ending = os.path.splitext(name)
        if wnid not in LABELS or ending != '.tar':
            raise ValueError(
                f"{tar.name}: '{name}' is not the archive of a class, such "
                'as n01440764.tar'
            )
        file = tar.extractfile(outer)
        with tarfile.open(f'{tar.name}:{name}', 'r:', file) as inner:
            for member, image in _members(inner):
                yield inner, member, wnid, image


def _val_images(
    tar: tarfile.TarFile, wnids: dict[int, str]
) -> Iterator[_Image]:
    """Yield archive, member, class and file name of each image."""
    for member, name in _members(tar):
        number = image_number(name)
        if number not in wnids:
            raise ValueError(
                f'{tar.name}: {name} has no label: the labels name '
                f'{len(wnids):,} images'
            )
        yield tar, member, wnids[number], name


def _members(
    tar: tarfile.TarFile,
) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Yield the files of an archive with their names.

    Raises:
        ValueError: If a member is not a file, or could be written outside
            the target folder.
    """
    for member in tar:
        name = member.name.removeprefix('./')
        if member.isdir():
            continue
        if not member.isfile():
            raise ValueError(
                f"{tar.name}: '{name}' is a link or a device, which no "
                'archive of ImageNet holds'
            )
        if not name or name.startswith('.') or '/' in name or '\\' in name:
            raise ValueError(
                f"{tar.name}: '{name}' is not a plain file name, so it could "
                'be written outside the target folder'
            )
        yield member, name


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path
) -> None:
    # The name starts with a dot, so that training does not read the file. It
    # has no process id, so that the next run replaces the file that a killed
    # run left. Unlike `atomic_write`, this does not sync each file to the
    # disk: for a million files that would take hours.
    partial = target.with_name(f'.{target.name}.part')
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(partial, 'wb') as file:
            shutil.copyfileobj(tar.extractfile(member), file)
        if partial.stat().st_size != member.size:
            raise tarfile.ReadError('unexpected end of data')
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
