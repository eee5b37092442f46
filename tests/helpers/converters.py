# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run the converters inside the test process, because imports take seconds."""

import contextlib
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

from helpers.scripts import importable

TOOLS = Path(__file__).parents[2] / 'tools/model_converters'
#: Every converter that reads a checkpoint, with the options that it needs.
CONVERTERS: dict[str, tuple[str, ...]] = {
    'official_to_mmcae': (),
    'official_to_mmcae --reverse': (),
    'mmcae_to_mmpretrain': (),
    'mmcae_to_timm': (),
    'publish_model': (),
    'sweep_to_linear': ('--lr', '0.1'),
    'dalle_to_mmcae': (),
}


def load_tool(name: str) -> ModuleType:
    """Import a converter by the name of its file."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    with importable(TOOLS):
        spec.loader.exec_module(tool)
    return tool


def run_tool(name: str, *args: object) -> str:
    """Run a converter as the command line does; return what it prints."""
    printed, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, 'argv', [name, *map(str, args)]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        status = load_tool(name).main()
    assert status == 0, errors.getvalue()
    return printed.getvalue()
