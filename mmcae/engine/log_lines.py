# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What mmengine's lines of a training do not say."""

import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from mmengine.dist import get_world_size

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# mmengine's fields of time; the first group is the time left.
_TIMES = re.compile(
    r'(eta: (?:(\d+) days?, )?(\d+):(\d+):(\d+))'
    r'(  time: [\d.]+  data_time: [\d.]+)  '
)


class FullLines:
    """A log processor whose lines also have speed, waiting time and date.

    To each line of the training it adds the date of the end, the iteration of
    all, images per second, the share of time in which data were awaited, and,
    without a GPU, the memory of the process. The numbers that go to the
    visualizer are not changed.

    Args:
        processor: mmengine's log processor.
        images: Returns the number of images of the current batch.
    """

    def __init__(self, processor: Any, images: Callable[[], int]) -> None:
        self.processor = processor
        self._images = images

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processor, name)

    def get_log_after_iter(
        self, runner: Any, batch_idx: int, mode: str
    ) -> tuple[dict, str]:
        """Format a line as mmengine does, and complete it."""
        tag, line = self.processor.get_log_after_iter(runner, batch_idx, mode)
        if mode == 'train':
            line = complete(
                line,
                runner.iter + 1,
                runner.max_iters,
                self._images() * get_world_size(),
            )
        return tag, line


def complete(line: str, done: int, total: int, images: int) -> str:
    """Add to a line of a training what mmengine leaves out.

    Args:
        line: The line; without mmengine's times it stays as it is.
        done: Finished iterations.
        total: All iterations.
        images: Images of a batch on all processes; 0 if that is not known.
    """
    found = _TIMES.search(line)
    if found is None:
        return line
    eta, days, hours, minutes, seconds, times = found.groups()
    left = timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
    )
    step, waiting = (float(n) for n in re.findall(r'time: ([\d.]+)', times))
    parts = [f'{done:,} of {total:,}']
    if step > 0:
        if images:
            parts.append(f'{images / step:,.0f} images/s')
        parts.append(f'{waiting / step:.0%} waiting for data')
    if 'memory: ' not in line and resource is not None:
        parts.append(f'{peak_memory():,.0f} MB')
    end = clock(left.total_seconds())
    text = f'{eta} (until {end}){times}  ({", ".join(parts)})  '
    return line[: found.start()] + text + line[found.end() :]


def peak_memory() -> float:
    """The largest memory that this process had so far, in MB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1e6 if sys.platform == 'darwin' else 1e3)


def clock(seconds: float) -> str:
    """The time of day after so many seconds; with the date if not today."""
    now = datetime.now()
    then = now + timedelta(seconds=seconds)
    form = '%H:%M' if then.date() == now.date() else '%b %d, %H:%M'
    return f'{then:{form}}'
