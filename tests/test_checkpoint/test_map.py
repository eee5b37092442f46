# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The map of the room in ``mmcae/checkpoint/__init__.py`` is complete."""

import re
from collections import Counter
from pathlib import Path

import mmcae.checkpoint


def test_map__names_every_file_once():
    folder = Path(mmcae.checkpoint.__file__).parent
    files = {path.stem for path in folder.glob('*.py')} - {'__init__'}
    named = Counter(re.findall(r'``(\w+)``', mmcae.checkpoint.__doc__))
    assert named == dict.fromkeys(files, 1)
