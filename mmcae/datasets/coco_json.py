# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""COCO-format JSON of one's own: what it holds, and what is wrong with it.

Configs for own data ask here for the classes, so that a user types none.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcae.config.check import ConfigError


@dataclass(frozen=True)
class CocoSummary:
    """What a detector must know of its annotations.

    Attributes:
        classes: Names of the categories in the order of the file, which is
            the order of mmdetection's labels.
        has_masks: Whether every object has a mask; otherwise a detector of
            boxes can be trained.
    """

    classes: tuple[str, ...] = ('object',)
    has_masks: bool = True


def coco_summary(
    path: str | os.PathLike, missing_ok: bool = False
) -> CocoSummary:
    """Read the classes of a COCO-format JSON.

    Args:
        path: The file.
        missing_ok: Whether a missing file gives one class, ``object``. A
            packaged config is also read before its data is named; the
            training reports a missing file later.

    Raises:
        ConfigError: If the file is not there, or not in this format.
    """
    path = Path(path).expanduser()
    if missing_ok and not path.is_file():
        return CocoSummary()
    content = _read(path)
    objects = [a for a in content['annotations'] if not a.get('iscrowd')]
    return CocoSummary(
        tuple(str(c['name']) for c in content['categories']),
        bool(objects) and all(a.get('segmentation') for a in objects),
    )


def check_coco(
    path: str | os.PathLike,
    images: str | os.PathLike,
    classes: Sequence[str],
    with_masks: bool = False,
) -> None:
    """Check annotations before a training.

    Args:
        path: The JSON.
        images: The folder of the images.
        classes: Names of the classes that the model knows.
        with_masks: Whether every object needs a mask.

    Raises:
        ConfigError: Names the file, and the first wrong entry.
    """
    path, images = Path(path), Path(images)
    content = _read(path)
    names = {c['id']: str(c['name']) for c in content['categories']}
    unknown = sorted(set(classes) - set(names.values()))
    if unknown:
        raise ConfigError(
            f"{path} has no category '{unknown[0]}', which is one of the "
            f'classes; its categories are {", ".join(names.values())}'
        )
    extra = sorted(set(names.values()) - set(classes))
    if extra:
        raise ConfigError(
            f"{path} has the category '{extra[0]}', which is none of the "
            f'classes {", ".join(classes)}: the classes come from the '
            'training JSON'
        )
    if list(names.values()) != list(classes):
        # mmdetection numbers the labels in the order of each file.
        raise ConfigError(
            f'{path} lists its categories in another order than the training '
            f'JSON ({", ".join(classes)}): write them in the same order'
        )
    entries = {}
    for entry in content['images']:
        lacking = {'id', 'file_name', 'width', 'height'} - set(entry)
        if lacking:
            raise ConfigError(
                f'an image in {path} has no {sorted(lacking)[0]}: {entry}'
            )
        entries[entry['id']] = entry['file_name']
    for annotation in content['annotations']:
        _check_annotation(path, annotation, names, entries, with_masks)
    if not images.is_dir():
        raise ConfigError(f'there is no folder {images} for {path}')
    missing = [n for n in entries.values() if not (images / n).is_file()]
    if missing:
        raise ConfigError(
            f'{len(missing)} of {len(entries)} images of {path} are not in '
            f'{images}, the first is {missing[0]}'
        )


def _check_annotation(
    path: Path,
    annotation: dict[str, Any],
    names: dict[Any, str],
    images: dict[Any, str],
    with_masks: bool,
) -> None:
    number = annotation.get('id')
    known = ', '.join(f'{key} = {name}' for key, name in names.items())
    fault = ''
    if annotation.get('category_id') not in names:
        fault = (
            f'the category {annotation.get("category_id")}, and the '
            f'categories are {known}'
        )
    elif annotation.get('image_id') not in images:
        fault = (
            f'the image {annotation.get("image_id")}, which is not among its '
            f'{len(images)} images'
        )
    elif len(annotation.get('bbox') or ()) != 4:
        fault = f'no bbox of four numbers, but {annotation.get("bbox")}'
    elif not isinstance(annotation.get('area'), int | float):
        fault = 'no area, which mmdetection needs (in pixels)'
    elif with_masks and not annotation.get('segmentation'):
        fault = 'no segmentation, and other annotations have one'
    if fault:
        raise ConfigError(f'annotation {number} in {path} has {fault}')


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON and check that it has the three lists of the format."""
    try:
        content = json.loads(path.read_text('utf-8'))
    except FileNotFoundError as error:
        raise ConfigError(f'there is no file {path}') from error
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path} is no JSON: {error}') from error
    for name in ('images', 'annotations', 'categories'):
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            raise ConfigError(
                f'{path} has no {name}: a COCO-format JSON has the lists '
                'images, annotations and categories, and none is empty'
            )
    twice = [
        name
        for name, count in Counter(
            str(c.get('name')) for c in content['categories']
        ).items()
        if count > 1
    ]
    if twice:
        raise ConfigError(f"{path} has the category '{twice[0]}' twice")
    return content
