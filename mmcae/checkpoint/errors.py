# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What is raised for a file that is not read."""


class UnsafeCheckpointError(ValueError):
    """A file asks for more than data; nothing in it was executed."""


class UnreadableCheckpointError(ValueError):
    """A file is truncated, damaged, or no checkpoint at all."""


class UnknownNameError(ValueError):
    """A pickle names something that is not on the reader's list.

    Args:
        name: What it names, such as ``posix.system``.
    """

    def __init__(self, name: str):
        super().__init__(f'the file names {printable(name)}')
        self.name = printable(name)


def printable(text: object, limit: int = 120) -> str:
    """Show text of a file in one line that a terminal takes as letters.

    Control characters, line ends and characters that turn the direction of
    writing become escapes; long text is cut.

    Args:
        text: Anything; its ``str()`` is shown.
        limit: Number of characters after which the text is cut.
    """
    text = str(text)
    shown = ''.join(
        c if c.isprintable() else c.encode('unicode_escape').decode()
        for c in text[:limit]
    )
    return shown if len(text) <= limit else f'{shown}...'
