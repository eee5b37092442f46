# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How a command ends: a user's mistake in one sentence, a bug in full."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import Hook

from mmcae.checkpoint.download import DownloadError
from mmcae.checkpoint.errors import CheckpointError
from mmcae.checkpoint.printable import printable_lines
from mmcae.config.check import ConfigError
from mmcae.launch.distributed import leave_process_group, rank
from mmcae.launch.origin import origin_of

MMCV_OPS_HINT = (
    "this config needs mmcv's compiled operators, and the mmcv installed here "
    'is pure Python; with torch installed, compile it: pip uninstall -y '
    'onedl-mmcv && MMCV_WITH_OPS=1 pip install --no-build-isolation '
    '--no-cache-dir --no-binary onedl-mmcv onedl-mmcv'
)

#: Our own modules; ``__main__`` is a tool.
OUR_PACKAGES = ('mmcae', '__main__')
#: Packages whose own ``raise`` of a ValueError is a message to the user.
CHECKED_PACKAGES = (
    *OUR_PACKAGES,
    *('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'mmdet'),
)

#: What the system says of a path that the user should correct. All its other
#: errors have causes outside the command and its files.
_WRONG_PATHS = (
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
)


class _LoopStarted(Hook):
    """Records that training or testing started."""

    priority = 'VERY_HIGH'
    done = False

    def before_train(self, runner: Any) -> None:
        self.done = True

    def before_test(self, runner: Any) -> None:
        self.done = True


#: Every Runner that we build has this hook.
loop_started = _LoopStarted()


@contextmanager
def clear_errors() -> Iterator[None]:
    """Let a user's mistake end in one sentence instead of a traceback.

    Before the loop starts, these are mistakes: a `ConfigError`, a file that
    is not there or not readable, a failed download, an argument or a value
    that a constructor of OpenMMLab's packages or ours refuses (see
    `_is_refusal`), a CUDA device that is not there. If the constructor was
    building a part of the config, the message names that part.

    The exit status is 2 if the command, the config, or a file that they name
    is wrong, and 1 if anything else prevents the run: the network, the disk,
    the installation, the devices, or checkpoints of the run all of which are
    damaged. ``MMCAE_TRACEBACK=1`` shows the traceback, too. All other errors,
    and those of a running loop except a failed download, numbers that are not
    finite (`NonFiniteHook`) and missing operators of mmcv, pass unchanged.
    """
    loop_started.done = False
    try:
        yield
    except ConfigError as error:
        _exit(error, str(error), 2)
    except (DownloadError, CheckpointError) as error:
        _exit(error, str(error), 1)
    except FloatingPointError as error:
        if not _raised_in(error).startswith('mmcae.'):
            raise
        _exit(error, str(error), 1)
    except ModuleNotFoundError as error:
        if error.name != 'mmcv._ext':
            raise
        _exit(error, MMCV_OPS_HINT, 1)
    except Exception as error:
        sentence = None if loop_started.done else _sentence(error)
        if sentence is None:
            raise
        _exit(error, sentence, 2 if _is_users(error) else 1)


def _is_users(error: Exception) -> bool:
    """Whether a wrong name, value, or file causes an error."""
    if isinstance(error, OSError):
        return isinstance(error, _WRONG_PATHS)
    return _raised_in(error) != 'torch.cuda'


def _sentence(error: Exception) -> str | None:
    """What to tell of an error before the loop; None if it may be a bug."""
    module = _raised_in(error)
    if module == 'torch.cuda':
        return str(error)
    if isinstance(error, OSError):
        return _with_origin(error, str(error))
    if module == 'mmengine.runner.checkpoint' and isinstance(
        error, AssertionError
    ):
        return _about_prefix(error)
    if not _is_refusal(error):
        return None
    text = str(error.args[0] if isinstance(error, KeyError) else error)
    text = _with_origin(error, text)
    if module.split('.')[0] in OUR_PACKAGES:
        return text
    return f'{text} (MMCAE_TRACEBACK=1 shows where)'


def _with_origin(error: Exception, text: str) -> str:
    origin = origin_of(error)
    return f'{origin}: {text}' if origin else text


def _is_refusal(error: Exception) -> bool:
    """Whether a check refused a value, as opposed to code that broke.

    OpenMMLab's constructors refuse a config's values by plain ValueErrors,
    while the Runner builds one part after another, some of them only when
    ``train()`` is called. There is no type to tell them by, and no call
    around which they could be caught without catching the bugs of users'
    datasets and models as well. So the module tells: one of OpenMMLab's
    packages or ours must have raised the error itself. A ValueError that
    numpy, torch or a user's own code raises is none, wherever it passes.

    A KeyError counts only as the registries' "is not in the ... registry", a
    TypeError only as mmengine's call of a class with an argument that the
    class does not have, or as our own of the same meaning.
    """
    if isinstance(error, KeyError):
        return 'registry' in str(error)
    if isinstance(error, TypeError):
        return 'argument' in str(error) and _raised_in(error).startswith(
            ('mmengine.', 'mmcae.')
        )
    if not isinstance(error, ValueError):
        return False
    # An error that was raised while another one was handled may be a copy of
    # that one; `raise ... from ...` makes a message of its own.
    origin: BaseException = error
    while origin.__context__ and not origin.__suppress_context__:
        origin = origin.__context__
    return _raised_in(origin).split('.')[0] in CHECKED_PACKAGES


def _about_prefix(error: AssertionError) -> str | None:
    """Explain mmengine's assertion that ``prefix`` names a part of a file."""
    prefix, said, _ = str(error).partition(' is not in the pretrained model')
    if not said:
        return None
    return (
        f"init_cfg.prefix='{prefix}': no key of the checkpoint begins with "
        'it; give the prefix that its keys have, or leave it out'
    )


def _raised_in(error: BaseException) -> str:
    """The name of the module that an error comes from."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals.get('__name__', '') if frames else ''


def _exit(error: BaseException, sentence: str, status: int) -> None:
    if os.environ.get('MMCAE_TRACEBACK', '0') not in ('', '0'):
        traceback.print_exception(error)
    number = rank()
    where = f'[rank {number}] ' if number else ''
    message = printable_lines(f'{where}error: {sentence}')
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(status)


def run(main: Callable[[], None]) -> None:
    """Run a script's ``main`` with :func:`clear_errors`.

    A process of a distributed run leaves its group at the end. After an error
    it does not, because the others may be waiting in a collective.
    """
    with clear_errors():
        main()
    leave_process_group()
