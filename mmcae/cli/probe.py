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
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HELP = 'measure an encoder on labeled images'

#: Strengths of logistic regression (scikit-learn's C) to choose from.
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
#: Random splits of a folder without a test set.
SPLITS = 5
#: Share of the free disk that the tokens of the attentive probe may take.
DISK_SHARE = 0.5
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
        import mmcae.apis.folder_features  # noqa: F401
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


class TokenFile:
    """The tokens of all images, in float16 on the disk.

    The attentive probe reads them again and again. In memory, 10,000 images
    of a base-size encoder would take 3 GB.

    Args:
        path: The file; its folder is removed by the caller.

    Attributes:
        note: Why there are no tokens; empty if there are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = ''
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def expect(self, images: int, tokens: Any) -> None:
        """Leave the tokens out if they would fill the disk.

        Args:
            images: How many images there are going to be.
            tokens: Those of the first batch, ``(B, 1 + L, D)``.
        """
        needed = 2 * images * tokens[0].numel()
        free = shutil.disk_usage(self.path.parent).free
        if needed > DISK_SHARE * free:
            self.note = (
                f'its tokens need {needed / 1e9:.1f} GB of disk in '
                f'{self.path.parent.parent}, and {free / 1e9:.1f} GB are free'
            )

    def append(self, tokens: Any) -> None:
        """Write a batch, ``(B, 1 + L, D)``."""
        if self.note:
            return
        self._shape = tuple(tokens.shape[1:])
        self._count += len(tokens)
        with open(self.path, 'ab') as file:
            file.write(tokens.half().cpu().numpy().tobytes())

    def array(self) -> Any:
        """The tokens ``(N, 1 + L, D)``, read when used; None without."""
        import numpy as np

        if self.note or not self._count:
            return None
        shape = (self._count, *self._shape)
        return np.memmap(self.path, np.float16, 'r', shape=shape)


def _extract(
    args: argparse.Namespace,
    config: Path | str,
    weights: str,
    part: Path,
    name: str,
    tokens: TokenFile,
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


def config_beside(checkpoint: Path) -> Path:
    """The config that a run wrote into its work dir.

    Packaged weights, ``mmcae://NAME``, have the name of their config.

    Raises:
        FileNotFoundError: If there is no checkpoint, or not one config.
    """
    from mmcae.checkpoint.packaged import is_packaged
    from mmcae.config.search_path import find_config

    if is_packaged(checkpoint):
        return find_config(checkpoint.name)
    if not checkpoint.is_file():
        raise FileNotFoundError(f'there is no checkpoint {checkpoint}')
    found = sorted(checkpoint.parent.glob('*.py'))
    if len(found) != 1:
        raise FileNotFoundError(
            f'{checkpoint.parent} has {len(found)} configs; give --config'
        )
    return found[0]


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


def probe_rows(
    found: list[Any],
    k: int,
    tokens: Any = None,
    seed: int = 0,
    title: str = '',
) -> dict[str, list[float]]:
    """Accuracies of each split, from 0 to 1.

    Args:
        found: `FolderFeatures` of the training and the test images, or of
            all images.
        k: Number of neighbors; as many as there are, if there are fewer.
        tokens: ``(N, 1 + L, D)`` of all images, for the attentive probe.
        seed: Of the random splits.
        title: Printed on a terminal before each attentive probe.

    Returns:
        ``knn``, ``linear``, ``largest`` (the share of the largest class), and
        ``attentive`` if there are tokens.

    Raises:
        ValueError: If there are no labels, or the classes of two folders
            differ.
    """
    import numpy as np
    import torch

    from mmcae.evaluation import knn_top1, swept_attentive_accuracy
    from mmcae.evaluation.probe import standardize

    if any(item.labels is None or len(item.classes) < 2 for item in found):
        raise ValueError(
            'a probe needs two classes: the folder must have a subfolder for '
            'each class'
        )
    if found[0].classes != found[-1].classes:
        odd = sorted(set(found[0].classes) ^ set(found[-1].classes))
        raise ValueError(
            'the folders of training and test images must have the same '
            f'classes; only one has {", ".join(odd)}'
        )
    features = np.concatenate([item.features for item in found])
    labels = np.concatenate([item.labels for item in found])
    rows: dict[str, list[float]] = dict(knn=[], linear=[], largest=[])
    for number, (train, test) in enumerate(_splits(found, labels, seed), 1):
        arrays = features[train], labels[train], features[test], labels[test]
        x, y, x_test, y_test = map(torch.from_numpy, arrays)
        neighbors = min(k, len(train))
        rows['knn'].append(knn_top1(x, y, x_test, y_test, neighbors))
        fit, held = standardize(arrays[0], arrays[2])
        accuracy = swept_accuracy(fit, labels[train], held, labels[test])
        rows['linear'].append(accuracy)
        counts = np.bincount(labels[test])
        rows['largest'].append(float(counts.max() / counts.sum()))
        if tokens is None:
            continue
        if title and sys.stderr.isatty():
            print(f'{title}: attentive probe {number}', file=sys.stderr)
        rows.setdefault('attentive', []).append(
            swept_attentive_accuracy(
                _head_maker(tokens.shape[-1], len(found[0].classes)),
                tokens,
                labels,
                train,
                test,
                device='cuda' if torch.cuda.is_available() else 'cpu',
            )
        )
    return rows


def _head_maker(width: int, num_classes: int) -> Callable[[], Any]:
    """Make attentive heads; 32 channels for each attention head."""
    from mmcae.models import AttentiveProbeHead

    def make() -> Any:
        heads = width // 32 if width % 32 == 0 else 1
        head = AttentiveProbeHead(num_classes, width, heads)
        head.init_weights()
        return head

    return make


def swept_accuracy(
    train: Any, labels: Any, test: Any, test_labels: Any
) -> float:
    """Accuracy of logistic regression with the best of `STRENGTHS`.

    The strength is chosen on a quarter of the training images.
    """
    from sklearn.model_selection import train_test_split

    from mmcae.evaluation.probe import logistic_accuracy

    fit, held, fit_labels, held_labels = train_test_split(
        train, labels, test_size=0.25, random_state=0
    )
    if len(set(fit_labels.tolist())) < 2:
        best = 1.0
    else:
        best = max(
            STRENGTHS,
            key=lambda c: logistic_accuracy(
                fit, fit_labels, held, held_labels, c
            ),
        )
    return logistic_accuracy(train, labels, test, test_labels, best)


def _splits(
    found: list[Any], labels: Any, seed: int
) -> Iterator[tuple[Any, Any]]:
    """Indices of the training and of the test images."""
    import numpy as np

    index = np.arange(len(labels))
    if len(found) == 2:
        count = len(found[0].labels)
        yield index[:count], index[count:]
        return
    from sklearn.model_selection import train_test_split

    for number in range(SPLITS):
        try:
            train, test = train_test_split(
                index,
                test_size=0.2,
                random_state=seed + number,
                stratify=labels,
            )
        except ValueError as error:
            raise ValueError(
                f'the {len(labels)} images cannot be split into training and '
                f'test images of every class: {error}'
            ) from error
        yield train, test


def _cell(values: list[float]) -> str:
    mean = 100 * sum(values) / len(values)
    text = f'{mean:.1f}'
    if len(values) > 1:
        text += f' [{100 * min(values):.1f} to {100 * max(values):.1f}]'
    return text
