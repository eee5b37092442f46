# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What the modules of the formats get."""

from dataclasses import dataclass, field
from typing import Any

from mmcae.export.portable import Part
from mmcae.export.source import Source


@dataclass
class Job:
    """What a format's module gets: its functions read it, and fill in notes.

    Attributes:
        source: The original.
        part: What to export.
        precision: One of the format's.
        any_size: Whether images of all sizes are wanted.
        metadata: What the file has to say about itself.
        notes: Sentences for the user, such as how to load the file.
    """

    source: Source
    part: Part
    precision: str
    any_size: bool
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
