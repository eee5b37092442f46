# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The command ``mmcae``: one module for each verb.

A verb's module has ``HELP`` (one line), ``add_arguments(parser)`` and
``main(args)``, which returns an exit status or None. At its top, such a
module imports only what is light. ``main`` imports the rest, so a help text
comes at once.
"""

import mmcae.namespace_guard  # noqa: F401
