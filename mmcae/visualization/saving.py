# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write figures to files."""

from pathlib import Path

from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, and make the folder that it goes to.

    Args:
        figure: The figure.
        path: The file. Its ending says the format.

    Raises:
        ValueError: If matplotlib cannot write that format.
    """
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lower().lstrip('.') not in known:
        raise ValueError(
            f'{path} must end in the name of a format: '
            f'{", ".join(f".{name}" for name in sorted(known))}'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
