# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find the part of the config that an error belongs to."""

import re
import traceback
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmcae.config.key_paths import paths_to, value_at, walk
from mmcae.config.keys import TOP_LEVEL

#: Longest value in a message.
_MAX_SHOWN = 100

_ARGUMENT = re.compile(r"(?:unexpected keyword|no) argument '(\w+)'")


def origin_of(error: BaseException) -> str:
    """Name the keys of the config that an error is about.

    mmengine builds each part of a run from one dict of the config. The
    constructor that refuses a value does not know where its dict stands, so
    the stack is asked for the dict, and the text of the error for its keys.

    Args:
        error: An error with a traceback.

    Returns:
        Such as ``model.neck.num_heads=5``; only the path of the dict if the
        text names none of its keys; empty if the error was not raised while
        mmengine built a part of a known config.
    """
    root: Any = None
    path = ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        values = frame.f_locals
        own = values.get('self')
        if isinstance(own, Runner):
            root = getattr(own, 'cfg', root)
        elif isinstance(values.get('cfg'), Config):
            root = values['cfg']
        name = frame.f_code.co_name
        if name == 'load_checkpoint' and isinstance(own, Runner):
            return _shown('load_from', values.get('filename'))
        if name == 'build_from_cfg' and root is not None:
            built = values.get('cfg')
            path = path_of(built, root) if isinstance(built, dict) else ''
    if root is None:
        return ''
    if path:
        return _with_keys(path, value_at(root, path), str(error))
    unknown = _ARGUMENT.search(str(error))
    places = list(paths_to(root, unknown[1])) if unknown else []
    places = [x for x in places if x.partition('.')[0] in TOP_LEVEL]
    return _shown(places[0], value_at(root, places[0])) if places else ''


def _with_keys(path: str, node: Any, text: str) -> str:
    """Add the keys of a dict that a text is about.

    These are the keys that the text names, or else those whose values it has;
    the ones of the dict itself before those of the dicts inside it.
    """
    words = set(re.findall(r'\w+', text)) - {'type'}
    items = [
        (key.count('.'), key, value)
        for key, value in walk(node)
        if not isinstance(value, dict) and not key[-1].isdigit()
    ]
    named = [item for item in items if item[1].rpartition('.')[2] in words]
    named = named or [item for item in items if _occurs(item[2], text, words)]
    least = min((depth for depth, _, _ in named), default=0)
    names = [
        _shown(f'{path}.{key}', value)
        for depth, key, value in named
        if depth == least
    ]
    return ', '.join(names) or path


def _occurs(value: Any, text: str, words: set[str]) -> bool:
    if isinstance(value, str):
        return len(value) > 2 and value in text
    return type(value) is int and value > 1 and str(value) in words


def _shown(key: str, value: Any) -> str:
    text = repr(value)
    return f'{key}={text}' if len(text) <= _MAX_SHOWN else key


def path_of(node: dict, cfg: Any) -> str:
    """Find the dict of a config that a built dict was made from.

    The built one may have further entries, which the builder has filled in.

    Args:
        node: The built dict.
        cfg: The config.

    Returns:
        The dotted path of the largest dict all of whose entries are in
        ``node``; empty if there is none.
    """
    best, size = '', 0
    for path, item in walk(cfg):
        if path.partition('.')[0] not in TOP_LEVEL:
            continue
        if not isinstance(item, dict) or 'type' not in item:
            continue
        fits = all(
            key == '_scope_' or (key in node and node[key] == value)
            for key, value in item.items()
        )
        if fits and len(item) > size:
            best, size = path, len(item)
    return best
