# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a folder and a machine to the configs of a pretraining.

`folder` and `machine` look, `start` reads the weights that a pretraining
starts from, `plan` decides (pure functions, no file and no device; `sizes`
has the table), `configs` writes the decision down, `measure` times a step of
it.
"""

import mmcae.namespace_guard  # noqa: F401
