# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tokens computed once and kept on disk."""

from .store import TokenStore

__all__ = ['TokenStore']
