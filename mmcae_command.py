# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The console script ``mmcae``. It starts before the package does.

``import mmcae`` checks versions and changes mmengine and mmpretrain, so it
imports them, which takes seconds. A help text needs none of that. This module
therefore stands beside the package: it puts the package into ``sys.modules``
without running ``mmcae/__init__.py``, builds the parser from the modules of
`mmcae.cli`, which import only the standard library, and runs
``mmcae/__init__.py`` before a verb that needs it.

``python -m mmcae`` is the same command; there, Python itself imports the
package first.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence


def defer_package() -> Callable[[], None]:
    """Make ``mmcae.cli`` importable without ``mmcae/__init__.py``.

    Returns:
        A function that runs ``mmcae/__init__.py`` if it has not run.
    """
    spec = importlib.util.find_spec('mmcae')
    if 'mmcae' in sys.modules or spec is None or not spec.has_location:
        # It is there already, or it is a namespace package, about which
        # `mmcae.namespace_guard` has its say.
        return lambda: None
    loader = spec.loader
    assert loader is not None  # every package with a file has one
    package = importlib.util.module_from_spec(spec)
    sys.modules['mmcae'] = package
    waiting = [package]

    def start() -> None:
        while waiting:
            loader.exec_module(waiting.pop())

    return start


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those after ``mmcae``; None reads ``sys.argv``.

    Returns:
        The exit status; see docs/cli.md.
    """
    start = defer_package()
    from mmcae.cli.parser import run_command

    return run_command(arguments, start)


if __name__ == '__main__':
    sys.exit(main())
