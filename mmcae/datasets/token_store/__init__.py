# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Tokens that are computed once and stored on disk."""

from .store import TokenStore

__all__ = ['TokenStore']
