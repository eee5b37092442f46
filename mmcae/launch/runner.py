# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a config and command-line options to a running Runner."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmcae.checkpoint.errors import CheckpointError
from mmcae.checkpoint.printable import printable_lines
from mmcae.checkpoint.reading import DownloadError
from mmcae.config.option_text import Options
from mmcae.config.overrides import ConfigError
from mmcae.config.values import check_values
from mmcae.launch.distributed import (
    has_accelerator,
    leave_process_group,
    process_rank,
    setup_cpu_distributed,
)
from mmcae.launch.token_store import share_sampler_seed, use_token_store

CFG_OPTIONS_HELP = (
    'override settings of the config: key=value pairs with dotted keys, e.g. '
    'train_dataloader.batch_size=64 param_scheduler.0.end=5. A list is '
    'key="[a,b]" or key=a,b; nested: key="[(a,b),(c,d)]". A value that is '
    'text in the config stays text, with blanks and commas: '
    '"data_root=My Photos, 2026"; in other places, and in lists, quote such '
    'text: key="[\'a, b\',c]". A key that nothing reads is an error; '
    '+key=value adds one on purpose. A variable of the config file '
    '(data_root, max_epochs, batch_size, ...) changes all that the file '
    'builds from it.'
)

MMCV_OPS_HINT = (
    "this config needs mmcv's compiled operators, and the mmcv installed here "
    'is pure Python; with torch installed, compile it: pip uninstall -y '
    'onedl-mmcv && MMCV_WITH_OPS=1 pip install --no-build-isolation '
    '--no-cache-dir --no-binary onedl-mmcv onedl-mmcv'
)

#: Packages whose own ``raise`` of a ValueError is a message to the user.
CHECKED_PACKAGES = (
    'mmcae', 'mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'mmdet',
    '__main__',  # the tools
)  # fmt: skip


class StrictDictAction(DictAction):
    """mmengine's ``DictAction`` with blanks kept and clear messages."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Collect ``key=value`` pairs; see :mod:`mmcae.config.option_text`."""
        options = getattr(namespace, self.dest, None) or Options()
        for pair in values or ():
            if not pair.partition('=')[0].strip('+ ') or '=' not in pair:
                parser.error(f"{option_string}: '{pair}' is not key=value")
            try:
                options.add(pair)
            except ValueError as error:
                parser.error(f'{option_string}: {error}')
        setattr(namespace, self.dest, options)


class _Started(Hook):
    """Records that the loop began: later errors keep their traceback."""

    priority = 'VERY_HIGH'
    done = False

    def before_train(self, runner: Runner) -> None:
        self.done = True

    def before_test(self, runner: Runner) -> None:
        self.done = True


_started = _Started()


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=StrictDictAction,
        metavar='KEY=VALUE',
        help=CFG_OPTIONS_HELP,
    )
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='do not pin the memory of batches',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of this job were started',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0,
        help=argparse.SUPPRESS,
    )  # fmt: skip


def set_work_dir(cfg: Config, work_dir: str | None, config: str) -> None:
    """Set ``work_dir``: the option, else the config's, else its name."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(config).stem)


def use_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper to mixed precision, keeping its settings.

    ``mmcae.AmpOptimWrapper`` also works without a GPU (bf16 autocast).

    Raises:
        ConfigError: If the config's wrapper is of another kind.
    """
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        raise ConfigError('--amp: the config has no optim_wrapper')
    kind = wrapper.get('type', 'OptimWrapper')
    name = kind if isinstance(kind, str) else kind.__name__
    name = name.split('.')[-1]
    if name == 'OptimWrapper':
        wrapper['type'] = 'mmcae.AmpOptimWrapper'
    elif name != 'AmpOptimWrapper':
        raise ConfigError(
            f"--amp needs optim_wrapper.type='OptimWrapper', the config has "
            f"'{name}'"
        )


def set_loader_defaults(
    cfg: Config, pin_memory: bool = True, persistent: bool = True
) -> None:
    """Give data loaders the defaults that OpenMMLab's tools give them.

    mmpretrain's configs count on its tools for the collate function; other
    scopes keep mmengine's.

    Args:
        cfg: Changed in place.
        pin_memory: ``False`` forbids pinned memory.
        persistent: ``False`` forbids persistent workers.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is None:
            continue
        workers = loader.get('num_workers', 0)
        if cfg.get('default_scope') in ('mmpretrain', 'mmcae'):
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
            loader.setdefault('pin_memory', has_accelerator())
            loader.setdefault('persistent_workers', workers > 0)
        if workers == 0:  # DataLoader refuses the combination
            loader['persistent_workers'] = False
        if not pin_memory:
            loader['pin_memory'] = False
        if not persistent:
            loader['persistent_workers'] = False


def build_runner(cfg: Config) -> Runner:
    """Build the Runner that a config describes, on any kind of machine.

    Args:
        cfg: A complete config with ``work_dir`` and ``launcher``.

    Returns:
        The Runner, model built, nothing started.

    Raises:
        ConfigError: If a value cannot be meant; before an image is read.
    """
    check_values(cfg)
    share_sampler_seed(cfg)
    use_token_store(cfg)
    setup_cpu_distributed(cfg, cfg.get('launcher', 'none'))
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    runner.register_hook(_started)
    return runner


def train(runner: Runner) -> None:
    """Train, after a look at what mmengine would not report clearly.

    Raises:
        ValueError: If the data loader yields no batch.
    """
    # Not at the top: data sets import mmpretrain, which mmseg may not need.
    from mmcae.engine.hooks.data_health_hook import require_batches

    # The schedulers, built before any hook runs, need its length.
    require_batches(runner.train_loop.dataloader)
    runner.train()


@contextmanager
def clear_errors() -> Iterator[None]:
    """Let start-up mistakes end in one message instead of a traceback.

    Before the loop begins, a file that is not there or a value that a
    constructor refuses is the user's to mend: status 2 for options and
    configs, 1 for the rest. ``MMCAE_TRACEBACK=1`` shows the traceback. Any
    other error, and every error once the loop runs, passes untouched.
    """
    _started.done = False
    try:
        yield
    except ConfigError as error:
        _exit(error, 2)
    except (OSError, DownloadError) as error:
        if _started.done and not isinstance(error, DownloadError):
            raise
        _exit(error, 1)
    except CheckpointError as error:
        _exit(error, 1)
    except ModuleNotFoundError as error:
        if error.name != 'mmcv._ext':
            raise
        _exit(ModuleNotFoundError(MMCV_OPS_HINT), 1)
    except TypeError as error:
        if _started.done or not _is_refused_call(error):
            raise
        _exit(error, 2)
    except (KeyError, ValueError) as error:
        if _started.done or not _is_deliberate(error):
            raise
        _exit(error, 1)


def _is_deliberate(error: BaseException) -> bool:
    """Whether a check refused a value, as opposed to code that broke.

    A refusal is raised by one of OpenMMLab's packages itself. A ``KeyError``
    counts only as the registries' "is not in the ... registry".
    """
    if isinstance(error, KeyError):
        return 'registry' in str(error)
    # An error that was raised while another one was handled may be a copy of
    # that; `raise ... from ...` is a message of its own.
    while error.__context__ and not error.__suppress_context__:
        error = error.__context__
    module = _raised_in(error)
    return module.split('.')[0] in CHECKED_PACKAGES


def _is_refused_call(error: TypeError) -> bool:
    """Whether mmengine called a class with an argument it does not have."""
    module = _raised_in(error)
    return 'argument' in str(error) and module.startswith('mmengine.')


def _raised_in(error: BaseException) -> str:
    """The name of the module that an error comes from."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals.get('__name__', '') if frames else ''


def _exit(error: BaseException, status: int) -> None:
    if os.environ.get('MMCAE_TRACEBACK', '0') not in ('', '0'):
        traceback.print_exc()
    rank = process_rank()
    where = f'[rank {rank}] ' if rank else ''
    text = error.args[0] if isinstance(error, KeyError) else str(error)
    message = printable_lines(f'{where}error: {text}')
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(status)


def run(main: Callable[[], None]) -> None:
    """Run a script's ``main`` with :func:`clear_errors`.

    A process of a distributed run leaves its group at the end; after an error
    it does not, for the others may be waiting in a collective.
    """
    with clear_errors():
        main()
    leave_process_group()
