# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Import scripts of the repository into the test process."""

import contextlib
import importlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let a script import those beside it, as Python does when it runs one.

    Their names (``digits``, ``imagenet``, ...) would be in the way of others
    if the folder stayed on the path.
    """
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def run_as_main(path: str | Path) -> dict[str, Any]:
    """Run a script in this process, with ``sys.argv`` as it is.

    Returns:
        The script's names.
    """
    with importable(Path(path).parent):
        return runpy.run_path(str(path), run_name='__main__')


def load_script(path: str) -> ModuleType:
    """Import a script by its path in the repository, once."""
    file = ROOT / path
    with importable(file.parent):
        return importlib.import_module(file.stem)
