# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Makes the benchmark tools importable."""

import sys
from pathlib import Path

TOOLS = Path(__file__).parents[1]
# Written for the tests, with the imports of the authors' repository.
OFFICIAL_LIKE = Path(__file__).parent / 'official_like'

if str(TOOLS) not in sys.path:
    sys.path.insert(0, str(TOOLS))
