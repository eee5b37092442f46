# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Count parameters and multiply-adds, and correct the metafiles.

python tools/analysis_tools/get_flops.py CONFIG
python tools/analysis_tools/get_flops.py --check
python tools/analysis_tools/get_flops.py --write
"""

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import yaml
from complexity import Complexity, measure_complexity
from mmengine.config import Config
from mmengine.logging import MMLogger

import mmcae  # noqa: F401
from mmcae.config.search_path import find_config, resource_root
from mmcae.launch.runner import run

NOTE = """\
One forward pass of one image: matrix products, convolutions and attention. A
multiply-add counts once, as in OpenMMLab's FLOPs; torch counts it as two.
* not in the sum"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Count the parameters and the multiply-adds of a '
        "config's model. This needs no GPU, no data and no weights."
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        'config',
        nargs='?',
        help='config file, or the name of a packaged config: print the parts '
        'of its model',
    )
    group.add_argument(
        '--check',
        action='store_true',
        help='compare the numbers in all metafiles with the count; the exit '
        'status is 1 if a number differs',
    )
    group.add_argument(
        '--write',
        action='store_true',
        help='correct the numbers in all metafiles',
    )
    return parser.parse_args()


def table(complexity: Complexity) -> str:
    """Format the parts of a model, one per line, and their sum."""
    lines = [f'{"":24}{"parameters":>14}{"multiply-adds":>18}']
    for part in complexity.parts:
        size = f'{part.parameters:,}' if part.parameters else '-'
        flops = '-' if part.flops is None else f'{part.flops:,}'
        name = part.name + ('' if part.counted else ' *')
        lines.append(f'{name:24}{size:>14}{flops:>18}')
    flops = '-' if complexity.flops is None else f'{complexity.flops:,}'
    lines.append(f'{"metafile":24}{complexity.parameters:>14,}{flops:>18}')
    return '\n'.join(lines)


def metafiles() -> Iterator[Path]:
    """Yield the metafiles that the model index imports."""
    root = resource_root()
    index = yaml.safe_load((root / 'model-index.yml').read_text('utf-8'))
    for name in index['Import']:
        yield root / name


def missing_package(cfg: Config) -> str | None:
    """Return why a config's model cannot be built here, or None."""
    try:
        import_module(f'{cfg.default_scope}.models')
    except ImportError as error:
        return str(error)
    return None


def corrected(text: str, name: str, numbers: dict[str, int | None]) -> str:
    """Replace the numbers of one entry of a metafile; comments stay.

    Args:
        text: The whole file, in the layout of OpenMMLab's metafiles.
        name: Name of the entry.
        numbers: New values of its ``Metadata``; None removes the line.

    Returns:
        The new text of the file.
    """
    head, start, rest = text.partition(f'  - Name: {name}\n')
    end = rest.find('\n  - Name: ') + 1
    entry, tail = (rest[:end], rest[end:]) if end else (rest, '')
    for key, value in numbers.items():
        line = f'      {key}: {value}\n' if value is not None else ''
        entry, found = re.subn(
            rf'^      {key}: .*\n', line, entry, count=1, flags=re.M
        )
        if not found:
            entry = entry.replace('    Metadata:\n', f'    Metadata:\n{line}')
    return head + start + entry + tail


def correct_metafile(path: Path, write: bool) -> list[str]:
    """Measure the models of a metafile, and return what differs."""
    text = path.read_text('utf-8')
    differences = []
    for model in yaml.safe_load(text)['Models']:
        name, listed = model['Name'], model['Metadata']
        cfg = Config.fromfile(resource_root() / model['Config'])
        reason = missing_package(cfg)
        if reason:
            print(f'skipped {name}: {reason}')
            continue
        found = measure_complexity(cfg)
        numbers = {'FLOPs': found.flops, 'Parameters': found.parameters}
        differences += [
            f'{name}: {key} {listed.get(key)}, counted {value}'
            for key, value in numbers.items()
            if listed.get(key) != value
        ]
        text = corrected(text, name, numbers)
    if write and differences:
        path.write_text(text, 'utf-8')
    return differences


def main() -> None:
    args = parse_args()
    logger = MMLogger.get_instance('mmengine')
    logger.setLevel('ERROR')  # hides the remarks of constructors
    if args.config:
        cfg = Config.fromfile(find_config(args.config))
        print(table(measure_complexity(cfg)), NOTE, sep='\n')
        return
    differences = [
        line
        for path in metafiles()
        for line in correct_metafile(path, args.write)
    ]
    print('\n'.join(differences) or 'all numbers are as counted')
    if differences and args.check:
        raise SystemExit(1)


if __name__ == '__main__':
    run(main)
