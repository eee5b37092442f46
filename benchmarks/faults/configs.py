# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Mistakes in configs: each must end before the first image, in one line."""

from collections.abc import Iterator

from helpers.wrong_configs import CASES, judge, write_project

from .runs import Row, Settings


def config_rows(settings: Settings) -> Iterator[Row]:
    """Start a training with each wrong config of the tests' table."""
    folder = settings.folder / 'configs'
    write_project(folder)
    verdicts = [judge(case, folder) for case in CASES]
    begun = sum(v.text == 'the training begins' for v in verdicts)
    for case, verdict in zip(CASES, verdicts, strict=True):
        if not verdict.clear:
            print(f'       {case.name!r}: {verdict.text}')
    yield Row(
        'a mistake in the config ends before the first image, in one line',
        len(CASES),
        sum(verdict.clear for verdict in verdicts),
        f'keys, types, values, files, sizes; exit status 2; {begun} silent',
    )
