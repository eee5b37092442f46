# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Measure an encoder on labeled images: one folder for each class.

    mmcae probe RUN/cae/epoch_150.pth FOLDER

The encoder stays as it is. Its features are classified by nearest neighbors,
by logistic regression and by an attentive probe (a learned query over all
patches). The strength of the regression and the learning rate of the probe
are chosen on a part of the training images, never on the test images. A
random encoder of the same sizes stands beside it, and the share of the largest
class. FOLDER has train/CLASS and val/CLASS (or test/CLASS), or CLASS: then
each class is split five times at random (80 % to train).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmcae.evaluation.token_file import TokenFile

HELP = 'measure an encoder on labeled images'

COLUMNS = ('knn', 'linear', 'attentive')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('folder', type=Path, help='a subfolder for each class')
    parser.add_argument(
        '--config',
        help='config of the checkpoint (default: the one in its folder)',
    )
    parser.add_argument(
        '--k', type=int, default=10, help='number of neighbors (default: 10)'
    )
    parser.add_argument(
        '--pool',
        choices=['mean', 'cls', 'both'],
        default='mean',
        help='feature of an image (default: the mean of the patch tokens)',
    )
    parser.add_argument(
        '--num-workers',
        type=int,
        default=0,
        help='processes that load images (default: 0)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the splits (default: 0)'
    )
    parser.add_argument(
        '--no-attentive',
        action='store_true',
        help='leave the attentive probe out, which takes most of the time',
    )
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of a table'
    )


def main(args: argparse.Namespace) -> None:
    """Print the table."""
    import tempfile

    from mmcae.false_alarms import without_false_alarms

    with without_false_alarms():
        from mmcae.apis.folder_probe import SPLITS, probe_rows
        from mmcae.evaluation.token_file import TokenFile
    folder = args.folder.expanduser()
    config = args.config or config_beside(args.checkpoint)
    parts = find_parts(folder)
    rows: dict[str, dict[str, list[float]]] = {}
    found: list[Any] = []
    note = ''
    for name, weights in (
        ('this encoder', str(args.checkpoint)),
        ('random encoder', 'random'),
    ):
        with tempfile.TemporaryDirectory() as temporary:
            tokens = TokenFile(Path(temporary) / 'tokens.bin')
            found = [
                _extract(args, config, weights, part, name, tokens)
                for part in parts
            ]
            note = tokens.note
            rows[name] = probe_rows(
                found, args.k, tokens.array(), args.seed, name
            )
    images = [len(item.features) for item in found]
    how = f'mean of {SPLITS} random splits [lowest to highest]'
    if len(parts) == 2:
        how = f'{images[0]:,} images to train, {images[1]:,} to test'
    result = dict(
        images=sum(images),
        classes=list(found[0].classes or ()),
        how=how,
        k=args.k,
        rows=rows,
        note=note,
    )
    print(json.dumps(result, indent=2) if args.json else table(result))


def table(result: dict[str, Any]) -> str:
    """Write the result as lines.

    Args:
        result: As ``--json`` prints it.
    """
    titles = (f'{result["k"]}-NN', 'linear', 'attentive')
    rows = result['rows']
    shown = [
        (name, title)
        for name, title in zip(COLUMNS, titles, strict=True)
        if name in rows['this encoder']
    ]
    heading = ''.join(f'{title:<22}' for _, title in shown)
    lines = [
        f'{result["images"]} images, {len(result["classes"])} classes',
        f'{"accuracy in %":<18}{heading}'.rstrip(),
    ]
    for name, row in rows.items():
        cells = ''.join(f'{_cell(row[column]):<22}' for column, _ in shown)
        lines.append(f'{name:<18}{cells}'.rstrip())
    largest = _cell(rows['this encoder']['largest'])
    lines += [f'{"largest class":<18}{largest}', f'({result["how"]})']
    if result['note']:
        lines.append(f'(no attentive probe: {result["note"]})')
    return '\n'.join(lines)


def _extract(
    args: argparse.Namespace,
    config: 'Path | str | Config',
    weights: str,
    part: Path,
    name: str,
    tokens: 'TokenFile',
) -> Any:
    """Features of a part, with a bar on a terminal."""
    from mmengine.utils import ProgressBar

    from mmcae.apis.folder_features import extract_folder
    from mmcae.cli.quiet import quiet
    from mmcae.datasets.folder_dataset import EXTENSIONS, find_images

    images = len(find_images(str(part), EXTENSIONS))
    console = sys.stderr
    bar = None
    if console.isatty():
        print(f'{name}: {part}', file=console)
        bar = ProgressBar(images, file=console)
    if args.no_attentive:
        tokens.note = '--no-attentive'

    def keep(batch: Any) -> None:
        if not tokens.note and not tokens.path.exists():
            tokens.expect(images, batch)
        tokens.append(batch)
        if bar is not None:
            bar.update(len(batch))

    with quiet():
        found = extract_folder(
            config,
            weights,
            part,
            pool=args.pool,
            crop_ratio=1.0,
            num_workers=args.num_workers,
            on_tokens=keep,
        )
    if bar is not None:
        print(file=console)
    return found


def config_beside(checkpoint: Path) -> 'Path | Config':
    """The config that a run wrote into its work dir.

    Packaged weights, ``mmcae://NAME``, have the name of their config. Those
    of the Hub, ``hf://OWNER/NAME``, have their config inside.

    Raises:
        FileNotFoundError: If there is no checkpoint, or not one config.
    """
    from mmcae.checkpoint.hub_file import is_hub_address
    from mmcae.checkpoint.packaged import is_packaged
    from mmcae.config.search_path import find_config

    if is_packaged(checkpoint):
        return find_config(checkpoint.name)
    if is_hub_address(checkpoint):
        from mmcae.apis.recorded_config import recorded_config
        from mmcae.checkpoint.reading import read_checkpoint

        found = recorded_config(read_checkpoint(checkpoint), str(checkpoint))
        if found is None:
            raise FileNotFoundError(
                f'{checkpoint} has no config; give --config'
            )
        return found
    if not checkpoint.is_file():
        raise FileNotFoundError(f'there is no checkpoint {checkpoint}')
    configs = sorted(checkpoint.parent.glob('*.py'))
    if len(configs) != 1:
        raise FileNotFoundError(
            f'{checkpoint.parent} has {len(configs)} configs; give --config'
        )
    return configs[0]


def find_parts(folder: Path) -> list[Path]:
    """The folders of the training and the test images, or the one folder.

    Raises:
        FileNotFoundError: If there is no folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    for name in ('val', 'test'):
        if (folder / 'train').is_dir() and (folder / name).is_dir():
            return [folder / 'train', folder / name]
    return [folder]


def _cell(values: list[float]) -> str:
    mean = 100 * sum(values) / len(values)
    text = f'{mean:.1f}'
    if len(values) > 1:
        text += f' [{100 * min(values):.1f} to {100 * max(values):.1f}]'
    return text
