# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What several tests share."""
