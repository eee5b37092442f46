# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""List the packaged configs, with the first line of what each says.

mmcae list                  all
mmcae list tokenizer        those whose path has this text
mmcae list folder tiny      ... and this one
"""

import argparse
import ast
from pathlib import Path

HELP = 'list the packaged configs'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'text',
        nargs='*',
        help='list only configs whose path contains each text',
    )


def is_light(args: argparse.Namespace) -> bool:
    """Whether the verb runs without ``mmcae/__init__.py``."""
    return True


def main(args: argparse.Namespace) -> int:
    """Print the names by folder."""
    from mmcae.config.search_path import list_configs, resource_root

    root = resource_root() / 'configs'
    folder = None
    for path in list_configs():
        place = path.relative_to(root)
        if not all(text in str(place) for text in args.text):
            continue
        if place.parent != folder:
            if folder is not None:
                print()
            folder = place.parent
            print(f'{folder.as_posix()}/')
        print(f'  {path.stem}\n      {summary(path)}')
    if folder is None:
        raise ValueError(
            f'no config has {" and ".join(args.text)} in its path; '
            '`mmcae list` lists all'
        )
    return 0


def summary(path: Path) -> str:
    """The first line of a config's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text('utf-8'))) or ''
    return text.partition('\n')[0]
