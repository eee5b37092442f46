# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run the converters within the test's process: imports take seconds."""

import contextlib
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

TOOLS = Path(__file__).parents[2] / 'tools/model_converters'


def load_tool(name: str) -> ModuleType:
    """Import a converter by its file's name."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def run_tool(name: str, *args: object) -> str:
    """Run a converter as from the command line; return what it prints."""
    printed, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, 'argv', [name, *map(str, args)]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        status = load_tool(name).main()
    assert status == 0, errors.getvalue()
    return printed.getvalue()
