# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Copy a packaged config into a folder, to change it there.

    mmcae copy NAME FOLDER
    mmcae train FOLDER/NAME.py

The copy inherits by the package's name (`mmcae::...`), so it works in any
folder. With --whole it inherits nothing and holds every value.
"""

import argparse
import ast
from pathlib import Path

HELP = 'copy a config into a folder, to change it'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument('name', help='name of a packaged config')
    parser.add_argument(
        'folder', type=Path, help='where to; it is made if it is not there'
    )
    parser.add_argument(
        '--whole',
        action='store_true',
        help='write the whole config, with the values of its base files',
    )


def is_light(args: argparse.Namespace) -> bool:
    """Whether the verb runs without ``mmcae/__init__.py``."""
    return not args.whole


def main(args: argparse.Namespace) -> None:
    """Write the copy; never over a file that is there."""
    from mmcae.config.search_path import find_config, resource_root

    source = find_config(args.name)
    if args.whole:
        from mmcae.config.overrides import load_config

        text = load_config(source).pretty_text
    else:
        text = with_package_bases(source, resource_root() / 'configs')
    folder = args.folder.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f'{source.stem}.py'
    if target.exists():
        raise FileExistsError(
            f'{target} is there already; remove it or choose another folder'
        )
    target.write_text(text, 'utf-8')
    print(f'{target}\nTrain with it: mmcae train {target}')


def with_package_bases(path: Path, configs: Path) -> str:
    """The text of a config whose base files are named by the package.

    Args:
        path: The config.
        configs: The package's folder of configs. A base file outside it, or
            one of another package, stays as it is written.
    """
    text = path.read_text('utf-8')
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign) or not any(
            isinstance(target, ast.Name) and target.id == '_base_'
            for target in node.targets
        ):
            continue
        bases = ast.literal_eval(node.value)
        single = isinstance(bases, str)
        named = [
            _package_name(base, path.parent, configs)
            for base in ([bases] if single else bases)
        ]
        written = repr(named[0])
        if not single:
            inside = ''.join(f'    {base!r},\n' for base in named)
            written = f'[\n{inside}]'
        assert node.end_lineno is not None
        lines[node.lineno - 1 : node.end_lineno] = [f'_base_ = {written}\n']
        break
    return ''.join(lines)


def _package_name(base: str, folder: Path, configs: Path) -> str:
    if '::' in base:
        return base
    file = (folder / base).resolve()
    inside = configs.resolve()
    if inside not in file.parents:
        return str(file)
    return f'mmcae::{file.relative_to(inside).as_posix()}'
