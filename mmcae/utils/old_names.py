# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Names that changed: the old one works for one release, with a warning."""

import sys
import warnings
from collections.abc import Callable
from typing import Any


def old_names(module: str, renamed: dict[str, str]) -> Callable[[str], Any]:
    """Make a module's ``__getattr__`` that still knows its old names.

    Write this at the end of the module::

        __getattr__ = old_names(__name__, {'old_name': 'new_name'})

    Args:
        module: The module's name, ``__name__``.
        renamed: Each old name with the name of today in the same module.

    Returns:
        A function for ``__getattr__``. It returns the object of today's name
        with a ``DeprecationWarning``.
    """

    def lookup(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(
                f'module {module!r} has no attribute {name!r}'
            )
        warnings.warn(
            f'{module}.{name} is now called {renamed[name]}; the old name '
            'works until mmcae 0.2.',
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(sys.modules[module], renamed[name])

    return lookup
