# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Durations as users read and write them."""


def duration_text(seconds: float, exact: bool = False) -> str:
    """Write a duration: ``42 s``, ``7 min``, ``3 h 20 min``, ``2 days``.

    Args:
        seconds: The duration. Less than a second is written as one.
        exact: Whether to add the smaller unit to short durations and to days:
            ``7 min 20 s``, ``2 days 5 h``.
    """
    if seconds < 90:
        return f'{max(1, round(seconds))} s'
    if exact and seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f'{minutes} min {rest} s' if rest else f'{minutes} min'
    minutes = round(seconds / 60)
    if minutes < 90:
        return f'{minutes} min'
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f'{hours} h {minutes} min' if minutes else f'{hours} h'
    days, hours = divmod(hours + round(minutes / 60), 24)
    if exact:
        return f'{days} days {hours} h' if hours else f'{days} days'
    return f'{days + round(hours / 24)} days'


def parse_duration(text: str) -> float:
    """Read a duration: ``90s``, ``20m``, ``2h``, ``1.5d``, ``1h30m``.

    Raises:
        ValueError: If it is none.
    """
    units = {'s': 1.0, 'm': 60.0, 'h': 3600.0, 'd': 86_400.0}
    total, number = 0.0, ''
    for letter in text.strip().lower():
        if letter in units and number:
            total += float(number) * units[letter]
            number = ''
        else:
            number += letter
    if number or total <= 0:
        raise ValueError(f"'{text}' is no duration; write 90s, 20m, 2h or 1d")
    return total
