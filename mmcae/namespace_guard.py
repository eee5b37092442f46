# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Refuse to work where ``mmcae/__init__.py`` did not run.

If Python finds no regular package ``mmcae``, it takes any folder of that name
on its path for a namespace package, such as a clone beside the user's script.
With some kinds of editable install (setuptools' finder, for one) the modules
in it are found all the same. But ``__init__`` does not run, so there is no
version check, no model zoo and no safe loader of checkpoints.

Each folder of the package, and `mmcae.registry`, imports this module.
"""

import sys
from types import ModuleType


def check_package(package: ModuleType) -> None:
    """Raise unless ``package`` is one whose ``__init__.py`` ran.

    Args:
        package: The module ``mmcae``; its import may not be complete yet.

    Raises:
        ImportError: If it is a namespace package.
    """
    if getattr(package, '__file__', None):
        return
    folders = ' and '.join(getattr(package, '__path__', ()))
    raise ImportError(
        f'Python took {folders} for the package mmcae, and mmcae/__init__.py '
        'did not run: no version check, no model zoo, no safe loader. '
        'Install mmcae again (`pip install -e .` in the clone), or start '
        'Python in a folder that does not contain a folder named mmcae.'
    )


check_package(sys.modules['mmcae'])
