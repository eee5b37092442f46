# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the tables of tested and supported versions: ``make lanes``.

    python requirements/tested_with.py            # write them
    python requirements/tested_with.py --check    # do the pages have them?

``lanes.json`` records what the lanes found; ``setup.cfg`` declares what is
supported. The tables are put between two comments of each page, so nobody
types a version.
"""

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType

from lanes import LANES, RECORD, ROOT
from pins import read_pins

PAGES = ('README.md', 'docs/get_started.md', 'docs/tested_with.md')
BLOCK = re.compile(
    r'(<!-- (?P<name>tested|supported): written by `make lanes` -->\n)'
    r'.*?(<!-- end -->)',
    re.DOTALL,
)


def tested_table(record: dict) -> str:
    """What ran, one row for each lane.

    Args:
        record: What ``lanes.py`` has written.
    """
    rows = []
    for lane in LANES:
        found = record.get(lane.name)
        if found is None:
            rows.append([lane.name, lane.python, *['not run'] * 5])
            continue
        packages, tests = found['packages'], found['tests']
        rows.append(
            [
                lane.name,
                found['python'],
                f'{packages["torch"]} / {packages["torchvision"]}',
                packages['numpy'],
                'compiled' if found['operators'] else 'pure Python',
                '{passed:,} / {skipped} / {failed}'.format(**tests),
                f'{found["date"]}, {found["commit"]}',
            ]
        )
    header = [
        'lane',
        'Python',
        'torch / torchvision',
        'numpy',
        'mmcv',
        'tests and subtests passed / skipped / failed',
        'run',
    ]
    return _table(header, rows)


def supported_table() -> str:
    """What ``import mmcae`` accepts, and what ``make`` installs."""
    pins = read_pins()
    rows = [['Python', pythons(), pythons()]]
    check = _version_check()
    ranges = check.declared_ranges()
    for item in check.REQUIREMENTS:
        name = item.distribution
        optional = ' (optional)' if item.optional else ''
        supported = re.sub(r'([<>=]+)', r'\1 ', ranges[name])
        rows.append(
            [name + optional, pins[name], supported.replace(',', ', ')]
        )
    return _table(['package', 'recommended', 'supported'], rows)


def pythons() -> str:
    """The Pythons that have a lane, in words."""
    versions = {lane.python for lane in LANES}
    return ', '.join(sorted(versions, key=lambda v: int(v.split('.')[1])))


def fill(text: str, tables: dict[str, str]) -> str:
    """Put the tables between the comments of a page.

    Args:
        text: The page.
        tables: By name of the block.
    """
    return BLOCK.sub(
        lambda block: block[1] + tables[block['name']] + block[3], text
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _version_check() -> ModuleType:
    # By its path: `import mmcae` needs torch, and this script does not.
    path = ROOT / 'mmcae' / 'utils' / 'version_check.py'
    spec = importlib.util.spec_from_file_location('version_check', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules['version_check'] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--check', action='store_true')
    args = parser.parse_args()
    tables = dict(
        tested=tested_table(json.loads(RECORD.read_text())),
        supported=supported_table(),
    )
    stale = []
    for page in PAGES:
        path = ROOT / page
        before = path.read_text()
        after = fill(before, tables)
        if after != before:
            stale.append(page)
            if not args.check:
                path.write_text(after)
    if args.check and stale:
        sys.exit(
            f'{", ".join(stale)}: the tables are not those of lanes.json and '
            'setup.cfg; run `python requirements/tested_with.py`'
        )
    print(f'tables: {", ".join(stale) if stale else "up to date"}')


if __name__ == '__main__':
    main()
