# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A check in a process of its own: whatever it does, the others run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .registry import Check
from .report import FAILED, SKIPPED, Report, SkipCheck
from .settings import Settings


def run_here(check: Check, settings: Settings, path: Path) -> None:
    """What the process does: run a check and write its file."""
    report = Report(path)
    try:
        check.run(settings, report)
    except SkipCheck as reason:
        report.save(SKIPPED, reason=str(reason))
    except Exception as error:
        reason = f'{type(error).__name__}: {error}'.splitlines()[0]
        text = traceback.format_exc()
        report.save(FAILED, reason=reason, traceback=text)
    else:
        report.save(report.status)


def run_apart(
    command: Sequence[str],
    path: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a check's process with a time limit.

    Args:
        command: Starts a process that calls `run_here`.
        path: The file that it writes.
        seconds: Time limit; then the process and its children are killed.
        environment: Added to this process's.

    Returns:
        The content of the file, with ``seconds``; a process that was killed
        or died has the status ``failed``, and the rows until then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    log = path.with_suffix('.log')
    start = time.perf_counter()
    late = False
    with open(log, 'w') as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # so that its children die with it
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            late, code = True, None
        finally:
            _kill_group(process)
    result = _read(path)
    result['seconds'] = time.perf_counter() - start
    if result['status'] == 'running':
        result['status'] = FAILED
        result['reason'] = (
            f'stopped after its time limit of {seconds:.0f} s'
            if late
            else f'its process ended with status {code}'
        )
        lines = log.read_text(errors='replace').splitlines()
        result['traceback'] = '\n'.join(lines[-15:])
    return result


def _read(path: Path) -> dict[str, Any]:
    if path.is_file():
        return json.loads(path.read_text())
    return dict(status='running', rows=[], details={})


def _kill_group(process: subprocess.Popen) -> None:
    """Kill what is left of the session that the process leads."""
    # It is no error if all of it has ended.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def child_command(
    script: Path, name: str, path: Path, settings: Settings
) -> list[str]:
    """The command line of a check's process."""
    command = [sys.executable, str(script), '--device', settings.device]
    command += ['--out', str(settings.out), '--run-one', name, str(path)]
    if settings.official is not None:
        command += ['--official', str(settings.official)]
    return command + (['--long'] if settings.long else [])
