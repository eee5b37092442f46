# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""ImageNet's original archives to class folders."""

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from imagenet_labels import image_number, validation_wnids
from imagenet_layout import LABELS, NUM_IMAGES
from mmengine.utils import ProgressBar
from torchvision.datasets.imagenet import ARCHIVE_META
from torchvision.datasets.utils import check_integrity


@dataclass
class Extraction:
    """What became of an archive's images.

    Attributes:
        written: How many files were written.
        kept: How many were there already.
        differing: Files that are there with another size; left alone.
        classes: The classes met.
    """

    written: int = 0
    kept: int = 0
    differing: list[Path] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """How many images the archive holds."""
        return self.written + self.kept + len(self.differing)

    def problems(self, split: str, whole: bool) -> list[str]:
        """What is wrong, a sentence each."""
        found = []
        if self.differing:
            found.append(
                f'{len(self.differing)} files differ in size from the '
                f"archive's, e.g. {self.differing[0]}; nothing was "
                'overwritten: remove or move them and run again'
            )
        complete = (len(LABELS), NUM_IMAGES[split])
        if whole and (len(self.classes), self.total) != complete:
            found.append(
                f'the archive holds {self.total:,} images of '
                f'{len(self.classes):,} classes, ImageNet has '
                f'{complete[1]:,} of {complete[0]:,}: fetch it again, or say '
                '--subset'
            )
        return found


def find_archives(source: Path, md5: bool = False) -> dict[str, Path]:
    """The archives of images in a folder.

    Args:
        source: The folder.
        md5: Whether to compare checksums, which reads every byte.

    Returns:
        Paths by split.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a checksum is not the official one.
    """
    archives = {}
    for split in ('train', 'val'):
        name, checksum = ARCHIVE_META[split]
        path = source / name
        if path.is_file():
            archives[split] = path
            if md5 and not check_integrity(path, checksum):
                raise ValueError(
                    f'{path}: the MD5 checksum is not {checksum}: fetch the '
                    'archive again'
                )
    if not archives:
        names = ' or '.join(ARCHIVE_META[s][0] for s in ('train', 'val'))
        raise FileNotFoundError(f'there is no {names} in {source}')
    return archives


def prepare(
    archives: dict[str, Path], root: Path, labels: Path
) -> dict[str, Extraction]:
    """Write class folders; files that are there are kept.

    Args:
        archives: The archives by split.
        root: Where ``train/`` and ``val/`` are written.
        labels: For ``val``: see :func:`validation_wnids`.

    Raises:
        FileNotFoundError: If the labels are missing.
        ValueError: If an archive is damaged, or has a member that an
            archive of ImageNet does not have. What was written before stays.
    """
    wnids = validation_wnids(labels) if 'val' in archives else {}
    done = {}
    if 'train' in archives:
        done['train'] = extract_train(archives['train'], root / 'train')
    if 'val' in archives:
        done['val'] = extract_val(archives['val'], root / 'val', wnids)
    return done


def extract_train(archive: Path, folder: Path) -> Extraction:
    """Unpack the archive of one archive per class."""
    done = Extraction()
    with _open(archive) as outer:
        bar = ProgressBar(len(LABELS))
        for member in _files(outer, archive):
            wnid, ending = os.path.splitext(_plain_name(member, archive))
            if wnid not in LABELS or ending != '.tar':
                raise ValueError(
                    f"{archive}: '{member.name}' is not the archive of a "
                    'class, such as n01440764.tar'
                )
            where = Path(f'{archive}:{member.name}')
            with _open(where, outer.extractfile(member)) as inner:
                _extract(inner, where, lambda _, wnid=wnid: wnid, folder, done)
            bar.update()
    print()
    return done


def extract_val(
    archive: Path, folder: Path, wnids: dict[int, str]
) -> Extraction:
    """Unpack the archive of the validation images into class folders."""

    def class_of(name: str) -> str:
        number = image_number(name)
        if number not in wnids:
            raise ValueError(
                f'{archive}: {name}: the labels name {len(wnids):,} images, '
                'not this one'
            )
        return wnids[number]

    done = Extraction()
    with _open(archive) as tar:
        bar = ProgressBar(NUM_IMAGES['val'] // 1000)
        _extract(tar, archive, class_of, folder, done, bar)
    print()
    return done


def _extract(
    tar: tarfile.TarFile,
    archive: Path,
    class_of: Callable[[str], str],
    folder: Path,
    done: Extraction,
    bar: ProgressBar | None = None,
) -> None:
    for member in _files(tar, archive):
        name = _plain_name(member, archive)
        wnid = class_of(name)
        target = folder / wnid / name
        done.classes.add(wnid)
        size = target.stat().st_size if target.exists() else 0
        if size == member.size and size:
            done.kept += 1
        elif size:
            done.differing.append(target)
        else:  # absent, or emptied by a power failure
            _write(tar, member, target)
            done.written += 1
        if bar and done.total % 1000 == 0:
            bar.update()


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path
) -> None:
    # Hidden, so that training does not see it, and without the process's
    # number, so that the next run replaces what a killed one left. Not
    # synced to disk as `atomic_write` does: a million times is hours.
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


@contextmanager
def _open(archive: Path, fileobj=None) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, 'r:', fileobj=fileobj) as tar:
            yield tar
    except tarfile.TarError as error:
        raise ValueError(
            f'{archive} is damaged or not complete ({error}): fetch it again; '
            'a second run keeps what was unpacked'
        ) from error


def _files(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        if member.isfile():
            yield member
        elif not member.isdir():
            raise ValueError(
                f"{archive}: '{member.name}' is a link or a device, which "
                'no archive of ImageNet holds'
            )


def _plain_name(member: tarfile.TarInfo, archive: Path) -> str:
    """The member's name, refused if it could lead elsewhere."""
    name = member.name.removeprefix('./')
    if not name or name.startswith('.') or '/' in name or '\\' in name:
        raise ValueError(
            f"{archive}: '{member.name}' is not a plain file name, which "
            'no archive of ImageNet holds: it could be written elsewhere'
        )
    return name
