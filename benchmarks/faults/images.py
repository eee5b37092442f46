# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Load thousands of damaged image files."""

import time
from collections.abc import Iterator

from helpers.image_files import MutantLoader
from helpers.isolation import run_isolated

from .runs import Row, Settings


def image_rows(settings: Settings) -> Iterator[Row]:
    """Change good files of six formats, and load them like a training."""
    folder = settings.folder / 'images'
    folder.mkdir()
    start = time.perf_counter()
    # A crash ends a child process, and a hang is ended after five seconds.
    outcomes = run_isolated(range(settings.images), MutantLoader(folder))
    rate = settings.images / (time.perf_counter() - start)
    results = [one.result for one in outcomes if not one.fault]
    loaded = sum(not reason for reason, _ in results)
    peak = max(rise for _, rise in results)
    yield Row(
        'a damaged image is loaded or refused: no crash, no hang',
        settings.images,
        len(results),
        'JPEG, PNG, WebP, TIFF, GIF, BMP; bits, lengths, cuts, splices; '
        f'{loaded:,} could be loaded; {rate:.0f} images/s, memory at most '
        f'+{peak / 2**20:.0f} MB',
    )
