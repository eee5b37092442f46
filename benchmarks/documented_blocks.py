# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the recorded numbers into the docs.

    python benchmarks/documented_blocks.py            # write the blocks
    python benchmarks/documented_blocks.py --check    # only compare them

A page has marks around each block. The text between the marks is made from
``docs/documented_runs.json`` (see ``documented_runs.py``):

    <!-- documented: log_line -->
    <!-- end -->
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from documented_runs import RECORD, REPO
from own_folders import FOLDERS

sys.path.insert(0, str(REPO / 'demo'))
from report import gains, table_rows

PAGES = (
    'docs/index.md',
    'docs/results.md',
    'docs/get_started.md',
    'docs/evaluate.md',
    'docs/transfer.md',
    'configs/tokenizer/README.md',
)
FIRST_STEPS = REPO / 'docs' / 'first_steps.json'
BLOCK = re.compile(
    r'(<!-- documented: (\w+) -->\n)(.*?)(<!-- end -->)', re.DOTALL
)


def table(*rows: list[str]) -> str:
    """A Markdown table; the first row is the heading."""
    head, *body = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([head, '|---' * len(rows[0]) + '|', *body])


def results(record: dict, name: str) -> dict:
    """The results of one run in a record."""
    return record['runs'][name]['results']


def stack(record: dict) -> str:
    """Version of torch, and processor."""
    machine = record['machine']
    text = f'torch {machine["packages"]["torch"].partition("+")[0]}, '
    text += machine['processor']
    # The processor's name ends with the instructions that PyTorch uses.
    return text + (' only' if machine['limited_to'] else '')


def machine(records: list[dict]) -> str:
    """The machine and the versions that the pages' numbers come from."""
    made = records[0]['machine']
    packages = ', '.join(
        f'{name} {number.partition("+")[0]}'
        for name, number in made['packages'].items()
    )
    return textwrap.fill(
        f'{made["processor"]} ({made["system"]}), '
        f'{made["threads"]} thread per process, '
        f'Python {made["python"]}, {packages}.',
        79,
        break_on_hyphens=False,
    )


def log_line(records: list[dict]) -> str:
    """The last log line of the digits' pretraining."""
    return _wrapped(results(records[0], 'digits')['last'])


def tokenizer_line(records: list[dict]) -> str:
    """The last log line of the digits' tokenizer."""
    return _wrapped(results(records[0], 'digits')['tokenizer'])


def _wrapped(line: dict[str, str]) -> str:
    """A log line, wrapped, without the fields that are times."""
    shown = '  '.join(
        f'{name}: {value}' for name, value in line.items() if name != 'at'
    )
    wrapped = textwrap.wrap(
        f'{line["at"]}  {shown}'.replace(': ', ':\0'),
        76,
        subsequent_indent='    ',
        break_on_hyphens=False,
    )
    text = '\n'.join(wrapped).replace('\0', ' ')
    return f'```text\n{text}\n```'


def demo_table(records: list[dict]) -> str:
    """Accuracy of the probes of `make demo`, with ranges over the seeds."""
    demo = results(records[0], 'demo')
    rows = table_rows(demo)
    for row in rows:
        if row[0] == 'pretrained encoder':
            row[:] = [f'**{cell}**' for cell in row]
    heading = [
        f'{count} labels: {probe}'
        for count in ('100', '1,400')
        for probe in ('logistic', '5-NN')
    ]
    gain = gains(demo)
    text = (
        f'Pretraining lifts the pooled latent by {gain["logistic"]:.1f} '
        f'points (logistic regression) and {gain["knn"]:.1f} points (nearest '
        'neighbors) at 100 labels. This is no claim that digits need '
        'pretraining: raw pixels are a strong feature there.'
    )
    body = table(['features', *heading], *rows)
    return f'{body}\n\n{textwrap.fill(text, 79)}'


def demo_short_table(records: list[dict]) -> str:
    """Mean accuracy of the probes of `make demo` with 100 labels."""
    rows = [
        [row[0], *(cell.partition(' ')[0] for cell in row[1:3])]
        for row in table_rows(results(records[0], 'demo'))
    ]
    heading = ['100 labels', 'logistic regression', '5 nearest neighbors']
    return table(heading, *rows)


def two_processes(records: list[dict]) -> str:
    """The first gradient norm in one process and in two."""
    one, two = (
        results(records[0], name)['first']['grad_norm']
        for name in ('digits', 'two_processes')
    )
    text = (
        'Run here with the digits config, two processes of 16 images logged '
        f'the gradient norm {two} in the first epoch, one process of 32 '
        f'logged {one}.'
    )
    return textwrap.fill(text, 79)


def neighbors(records: list[dict]) -> str:
    """The output of ``tools/knn.py`` for the digits."""
    lines = results(records[0], 'neighbors')['printed']
    return '\n'.join(['```text', *lines, '```'])


def segmentation(records: list[dict]) -> str:
    """Each evaluation of the small segmentor."""
    return _evaluations(results(records[0], 'segmentation'), '.1f')


def detection(records: list[dict]) -> str:
    """Each evaluation of the small detector."""
    return _evaluations(results(records[0], 'detection'), '.1f')


def _evaluations(found: dict[str, list[float]], form: str) -> str:
    rows = [
        [name, ', '.join(format(value, form) for value in values)]
        for name, values in found.items()
    ]
    return table(['%', 'at each evaluation'], *rows)


# By heading of a row: the run, and the number in its results.
VARYING: dict[str, tuple[str, Callable[[dict], str]]] = {
    'tokenizer, PSNR': ('digits', lambda r: r['tokenizer']['psnr']),
    'first gradient norm': ('digits', lambda r: r['first']['grad_norm']),
    'last `loss`': ('digits', lambda r: r['last']['loss']),
    'last `acc`': ('digits', lambda r: r['last']['acc']),
    'demo, gain: logistic': ('demo', lambda r: f'{gains(r)["logistic"]:.1f}'),
    'demo, gain: 5-NN': ('demo', lambda r: f'{gains(r)["knn"]:.1f}'),
    'tiny-ade, mIoU': ('segmentation', lambda r: f'{r["mIoU"][-1]:.1f}'),
    'tiny-coco, box AP': ('detection', lambda r: f'{r["box AP"][-1]:.1f}'),
    'tiny-coco, mask AP': ('detection', lambda r: f'{r["mask AP"][-1]:.1f}'),
}


def variation(records: list[dict]) -> str:
    """Numbers of the same commands on each recorded processor and torch."""
    rows = [['', *map(stack, records)]]
    for heading, (run, number) in VARYING.items():
        cells = [
            number(results(record, run)) if run in record['runs'] else ''
            for record in records
        ]
        rows.append([heading, *cells])
    return table(*rows)


def first_steps(records: list[dict]) -> str:
    """What an installed mmcae does with six folders, and how long it takes."""
    made = json.loads(FIRST_STEPS.read_text())
    steps = made['steps']
    pages = [['README', 'seconds', 'of them computing']]
    for name, words in (
        ('help', '`mmcae --help`'),
        ('reconstruct', '`mmcae reconstruct` of one image'),
        ('readme_python_0', 'the Python example'),
    ):
        step = steps[name]
        pages.append([words, f'{step["wall"]:.1f}', f'{step["cpu"]:.1f}'])
    folders = [['folder', 'images', 'model', 'seconds', 'memory']]
    for name, found in made['folders'].items():
        step = steps[f'{name}_pretrain']
        ended = f'{step["wall"]:.0f}' if step['status'] == 0 else 'failed'
        folders.append(
            [
                FOLDERS[name]
                .__doc__.splitlines()[0]
                .strip('.')
                .replace('``', '`'),
                found['images'].partition(' (')[0],
                re.sub(r' \(.*?\)|, half of.*', '', found['plan']),
                ended,
                f'{step["memory"] / 1e9:.1f} GB',
            ]
        )
    exports = [['exported to', 'largest difference of an output']]
    exports += [[form, value] for form, value in made['exports'].items()]
    packages = ', '.join(
        f'{k} {v}' for k, v in made['machine']['packages'].items()
    )
    stated = (
        f'{made["machine"]["processor"]}, {made["machine"]["cores"]} cores '
        f'beside other work, Python {made["machine"]["python"]}, {packages}. '
        f'Each pretraining got `--time {made["time"]}`.'
    )
    probe = made['probe'].strip()
    return '\n\n'.join(
        [
            table(*pages),
            table(*folders),
            table(*exports),
            f'```text\n{probe}\n```',
            textwrap.fill(stated, 79, break_on_hyphens=False),
        ]
    )


BLOCKS: dict[str, Callable[[list[dict]], str]] = {
    block.__name__: block
    for block in (
        machine,
        log_line,
        tokenizer_line,
        demo_table,
        demo_short_table,
        two_processes,
        neighbors,
        segmentation,
        detection,
        variation,
        first_steps,
    )
}


def fill(page: str, records: list[dict]) -> str:
    """Replace the blocks of a page.

    Raises:
        SystemExit: If the page marks a block whose name does not exist.
    """

    def block(match: re.Match) -> str:
        opening, name, _, closing = match.groups()
        if name not in BLOCKS:
            raise SystemExit(
                f'there is no block {name!r}; there are {", ".join(BLOCKS)}'
            )
        return f'{opening}{BLOCKS[name](records)}\n{closing}'

    return BLOCK.sub(block, page)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing, and fail if a page has other numbers',
    )
    parser.add_argument(
        '--record',
        type=Path,
        default=RECORD,
        help="file with the numbers (default: the repository's)",
    )
    args = parser.parse_args()
    records = json.loads(args.record.read_text())
    for name in PAGES:
        before = (REPO / name).read_text()
        after = fill(before, records)
        if before == after:
            continue
        if args.check:
            raise SystemExit(
                f'{name} has other numbers than {args.record.name}: run '
                'python benchmarks/documented_blocks.py'
            )
        (REPO / name).write_text(after)
        print(f'wrote {name}')


if __name__ == '__main__':
    main()
