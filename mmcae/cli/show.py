# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Print a packaged config, as its file is or with all that it inherits.

mmcae show NAME
mmcae show NAME --whole
"""

import argparse

HELP = 'print a config'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'name', help='name of a packaged config, or the path of a file'
    )
    parser.add_argument(
        '--whole',
        action='store_true',
        help='the whole config, with the values of its base files',
    )


def is_light(args: argparse.Namespace) -> bool:
    """Whether the verb runs without ``mmcae/__init__.py``."""
    return not args.whole


def main(args: argparse.Namespace) -> None:
    """Print the config."""
    from mmcae.config.search_path import find_config

    if not args.whole:
        print(find_config(args.name).read_text('utf-8'), end='')
        return
    from mmcae.config.overrides import load_config

    print(load_config(args.name).pretty_text, end='')
