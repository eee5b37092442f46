# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The command ``mmcae``: one module for each verb.

A verb's module has ``HELP`` (one line), ``add_arguments(parser)`` and
``main(args)``, which returns an exit status or None. `mmcae.cli.parser.VERBS`
lists the modules. At its top, such a module imports only what is light: the
standard library, `mmcae.launch.arguments`, other modules of this folder.
``main`` imports the rest, so a help text comes at once.

A verb may also have ``is_light(args)``. If it returns True, the verb neither
builds a model nor reads a checkpoint, and runs without ``mmcae/__init__.py``.
"""

import mmcae.namespace_guard  # noqa: F401
