# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Reads the command line and runs a verb."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from mmcae.version import __version__

#: The module in `mmcae.cli` of each verb, in the order of the help text.
VERBS = {
    'pretrain': 'pretrain',
    'train': 'train',
    'test': 'test',
    'list': 'list_configs',
    'show': 'show',
    'copy': 'copy_config',
    'reconstruct': 'reconstruct',
    'report': 'report',
    'runs': 'runs',
    'app': 'app',
    'extract': 'extract',
    'knn': 'knn',
    'export': 'export',
    'push': 'push',
    'probe': 'probe',
    'finetune': 'finetune',
    'doctor': 'doctor',
    'completion': 'completion',
}

#: A path that the command names is wrong; anything else may be the disk.
_WRONG_PATHS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)

DESCRIPTION = 'Pretrain with CAE (Context Autoencoder), and use the result.'
EPILOG = """\
mmcae VERB --help explains a verb. A mistake ends in one sentence.
Exit status: 0 done, 1 failed, 2 the command, the config or a file that they
name is wrong, 128 + n stopped by signal n (130: Ctrl-C)."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with status 2."""
        self.exit(2, f"error: {message} (see '{self.prog} --help')\n")


def verb_module(verb: str) -> ModuleType:
    """Import the module of a verb."""
    return import_module(f'mmcae.cli.{VERBS[verb]}')


def build_parser() -> Parser:
    """Build the parser with all verbs."""
    parser = Parser(
        prog='mmcae',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--version',
        action='version',
        version=f'mmcae {__version__}',
    )
    verbs = parser.add_subparsers(dest='verb', metavar='VERB')
    for verb in VERBS:
        module = verb_module(verb)
        child = verbs.add_parser(
            verb,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(child)
    return parser


def run_command(
    arguments: Sequence[str] | None = None,
    start: Callable[[], None] = lambda: None,
) -> int:
    """Read a command line and run its verb.

    Args:
        arguments: Those after ``mmcae``; None reads ``sys.argv``.
        start: Runs ``mmcae/__init__.py`` if it has not run.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    if given and not given[0].startswith('-') and given[0] not in VERBS:
        parser.error(_unknown(given[0]))
    args = parser.parse_args(given)
    if args.verb is None:
        parser.print_help()
        return 2
    module = verb_module(args.verb)
    try:
        is_light = getattr(module, 'is_light', lambda args: False)
        if is_light(args):
            return _run_light(module, args)
        try:
            start()
        except ImportError as error:
            return _fail(str(error), error)
        return run_verb(module, args)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run_verb(module: ModuleType, args: argparse.Namespace) -> int:
    """Run a verb whose mistakes end in one sentence.

    Args:
        module: The verb's module.
        args: Its arguments.

    Returns:
        The exit status.
    """
    from mmcae.launch.errors import run

    status = []
    run(lambda: status.append(module.main(args)))
    return status[0] or 0


def run_tool(module: ModuleType, description: str | None) -> int:
    """Run a verb as a script of ``tools/``.

    Args:
        module: The verb's module.
        description: What ``--help`` says.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return run_verb(module, parser.parse_args())


def _run_light(module: ModuleType, args: argparse.Namespace) -> int:
    try:
        return module.main(args) or 0
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        wrong = isinstance(error, (ValueError, *_WRONG_PATHS))
        return _fail(str(error), error, 2 if wrong else 1)


def _fail(sentence: str, error: BaseException, status: int = 1) -> int:
    if os.environ.get('MMCAE_TRACEBACK', '0') not in ('', '0'):
        raise error
    print(f'error: {sentence}', file=sys.stderr)
    return status


def _unknown(verb: str) -> str:
    near = get_close_matches(verb, VERBS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ''
    return f"there is no verb '{verb}'{hint}"
