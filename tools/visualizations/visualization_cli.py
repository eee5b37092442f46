# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the tools of this folder share: they start, and say what they wrote."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from mmcae.launch.errors import run


def start(
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    main: Callable[[argparse.Namespace], Any],
    given: Sequence[str] | None = None,
) -> None:
    """Read the command line and run a tool.

    A user's mistake ends in one sentence and a status that is not 0.

    Args:
        description: What ``--help`` says.
        add_arguments: Adds the tool's arguments to a parser.
        main: Runs the tool.
        given: The arguments; None reads the command line.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    args = parser.parse_args(given)
    run(lambda: main(args))
