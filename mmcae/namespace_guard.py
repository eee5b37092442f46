# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Refuse to work where ``mmcae/__init__.py`` did not run.

Python takes any folder named ``mmcae`` on its path for a namespace package
when it finds no other: a clone is such a folder for a script beside it. With
some kinds of editable install (setuptools' finder, which mmcae's used to be)
the modules are found all the same, but without ``__init__`` there is no check
of versions, no zoo and no safe loader of checkpoints.

Each folder of the package, and `mmcae.registry`, imports this module.
"""

import sys
from types import ModuleType


def check_package(package: ModuleType) -> None:
    """Raise unless ``package`` is one whose ``__init__.py`` ran.

    Args:
        package: The module ``mmcae``; it may still be half imported.

    Raises:
        ImportError: If it is a namespace package.
    """
    if getattr(package, '__file__', None):
        return
    folders = ' and '.join(getattr(package, '__path__', ()))
    raise ImportError(
        f'Python took {folders} for the package mmcae, and mmcae/__init__.py '
        'did not run: no version check, no model zoo, no safe loader. '
        'Install mmcae anew (`pip install -e .` in the clone), or start '
        'Python in a folder that does not hold a folder named mmcae.'
    )


check_package(sys.modules['mmcae'])
