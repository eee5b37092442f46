# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Train the small models whose weights travel in the package.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python benchmarks/make_weights.py --packages *.tgz

Trains, with seed 0 and the recipes unchanged, a tokenizer and a CAE on
scikit-learn's digits, a classifier from that CAE, and a tokenizer and a CAE on
emoji. Rounds the weights to float16, measures what that costs, and writes
``mmcae/zoo/weights/NAME.safetensors`` and the manifest ``weights.json``. Each
step trains from the rounded weights of the one before it, so a packaged CAE
was trained with exactly the packaged tokenizer. A finished training is not
repeated. ``--data digits`` makes the files of the digits only, and leaves the
others as they are. At last the tables of docs/weights.md are written.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import weights_numbers as numbers
from mmpretrain import get_model
from runs import REPO, last_checkpoint, run_tool

from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.files import atomic_write
from mmcae.checkpoint.packaged import FOLDER, MANIFEST, PREFIX
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import meta_of, weights_of
from mmcae.version import __version__

sys.path.insert(0, str(REPO / 'tools/dataset_converters'))

SEED = 0


@dataclass
class Data:
    """A dataset, and the configs of the models that are trained on it.

    Attributes:
        name: What the images are.
        side: Their side in pixels, as the models see them.
        source: Where they come from.
        licenses: Their licenses, and where those are stated.
        command: The options of this program that make the files.
        tokenizer: Config of the tokenizer.
        cae: Config of the pretraining.
        classifier: Config of the fine-tuning; None for no classifier.
    """

    name: str
    side: int
    source: str
    licenses: tuple[str, ...]
    command: str
    tokenizer: str
    cae: str
    classifier: str | None = None


DATA = dict(
    digits=Data(
        name="1,400 of scikit-learn's handwritten digits",
        side=32,
        source='sklearn.datasets.load_digits: the test set of UCI, Optical '
        'Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998; '
        'doi 10.24432/C50P49)',
        licenses=(
            "digits: CC BY 4.0, as the UCI repository states (scikit-learn's "
            'copy names no license of its own)',
        ),
        command='--data digits',
        tokenizer='configs/tokenizer/dvae_f8-k64_1xb32-13e_digits-32px.py',
        cae='configs/cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py',
        classifier='configs/cae/benchmarks/'
        'tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px.py',
    ),
    emoji=Data(
        name='3,050 emoji of Google and Twitter',
        side=48,
        source='the npm packages emoji-datasource-google 16.0.0 (Noto Emoji '
        '2.048) and emoji-datasource-twitter 16.0.0 (Twemoji, the fork of '
        'jdecked, 16.0.1), by Cal Henderson',
        licenses=(
            'images of Google: Apache License 2.0, as README.md of the '
            'package states',
            'images of Twitter: Creative Commons Attribution 4.0, as '
            'README.md of the package states',
            'the packages themselves: MIT, Copyright (c) 2013 Cal Henderson',
        ),
        command='--data emoji --packages *.tgz',
        tokenizer='configs/tokenizer/dvae_f8-k128_1xb32-8e_emoji-48px.py',
        cae='configs/cae/cae_tiny-p8_1xb32-coslr-30e_emoji-48px.py',
    ),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--packages',
        type=Path,
        nargs='+',
        help='npm packages with the emoji, see above',
    )
    parser.add_argument(
        '--data',
        choices=DATA,
        nargs='*',
        default=list(DATA),
        help='datasets; none writes only the tables of docs/weights.md '
        'anew (default: all)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/weights'),
        help='folder for data and checkpoints (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=FOLDER,
        help='folder of the files and of their manifest (default: that of '
        'the package)',
    )
    args = parser.parse_args()
    if 'emoji' in args.data and not args.packages:
        parser.error('emoji need --packages')
    return args


def rounded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Round the floating-point tensors of a state dict to float16."""
    return {
        name: value.half() if value.is_floating_point() else value
        for name, value in state.items()
    }


@dataclass
class Trained:
    """A trained model.

    Attributes:
        config: Its config, relative to the repository.
        checkpoint: The checkpoint of the training, in float32.
        small: A file with the same weights, rounded to float16.
    """

    config: str
    checkpoint: Path
    small: Path

    @property
    def name(self) -> str:
        """The name of its config, and of its file in the package."""
        return Path(self.config).stem

    @property
    def path(self) -> Path:
        """The config's file."""
        return REPO / self.config


class Maker:
    """Trains the models of one dataset, and writes their files.

    Args:
        args: The command line.
        key: Name of the dataset.
    """

    def __init__(self, args: argparse.Namespace, key: str) -> None:
        self.args = args
        self.key = key
        self.data = DATA[key]
        self.work = args.work_dir.resolve() / key
        self.labeled = self.work / 'data'
        self.unlabeled = self.labeled / 'train'
        self.records: dict[str, dict] = {}

    def prepare(self) -> None:
        """Write the images, unless they exist."""
        written = self.labeled.is_dir()
        if self.key == 'digits':
            from digits import write_digits

            # Without class folders, in the order in which README trains.
            self.unlabeled = self.work / 'unlabeled/train'
            if not written:
                write_digits(self.unlabeled.parent)
                write_digits(self.labeled, class_folders=True)
        elif not written:
            from emoji import write_emoji

            for package in self.args.packages:
                write_emoji(self.labeled, package)

    def train(self, config: str, *options: str) -> Trained:
        """Train a config, unless that was done, and round its weights."""
        folder = self.work / Path(config).stem
        print(f'{self.key}: {folder.name} ...', flush=True)
        run_tool(
            folder,
            *('tools/train.py', config, '--work-dir', folder, '--overwrite'),
            *('--cfg-options', f'randomness.seed={SEED}', *options),
        )
        checkpoint = last_checkpoint(folder)
        small = folder / f'{folder.name}.safetensors'
        if not small.is_file():
            state = weights_of(read_with_digest(checkpoint)[0])
            write_weights(rounded(state), small)
        return Trained(config, checkpoint, small)

    def run(self) -> None:
        """Train, measure and write all models of this dataset."""
        self.prepare()
        data = self.data
        root = f'data_root={self.unlabeled}'
        tokenizer = self.train(data.tokenizer, root)
        cae = self.train(data.cae, root, f'tokenizer={tokenizer.small}')
        classifier = data.classifier and self.train(
            data.classifier,
            f'data_root={self.labeled}',
            f'checkpoint={cae.small}',
        )
        train, test = self.labeled / 'train', self.labeled / 'test'
        self.write(
            tokenizer,
            'tokenizer (discrete VAE)',
            lambda file: numbers.measure_tokenizer(tokenizer.path, file, test),
        )
        self.write(
            cae,
            'pretraining model',
            lambda file: numbers.measure_cae(
                cae.path, file, tokenizer.small, train, test
            ),
            tokenizer=PREFIX + tokenizer.name,
        )
        if classifier:
            self.write(
                classifier,
                'fine-tuned classifier',
                lambda file: numbers.measure_classifier(
                    classifier.path, file, test
                ),
                start=PREFIX + cae.name,
            )

    def write(
        self,
        model: Trained,
        kind: str,
        measure: Callable[[Path], dict],
        **more: str,
    ) -> None:
        """Measure a model in both precisions, and write its file.

        Args:
            model: The trained model.
            kind: What it is, in words.
            measure: Takes a file with weights, returns the numbers.
            **more: Addresses of the weights that it was trained with.
        """
        data = self.data
        measured, exact = compare(
            measure(model.checkpoint), measure(model.small)
        )
        state = weights_of(read_with_digest(model.small)[0])
        checkpoint, digest = read_with_digest(model.checkpoint)
        record = dict(
            kind=kind,
            recipe=model.config,
            data=data.name,
            data_source=data.source,
            licenses=list(data.licenses),
            license='Apache-2.0',
            seed=SEED,
            command=f'python benchmarks/make_weights.py {data.command}',
            mmcae_version=__version__,
            torch_version=torch.__version__,
            dtype='float16',
            numbers=measured,
            float32=exact,
            example=numbers.example_output(
                get_model(model.path, pretrained=str(model.small)), data.side
            ),
            **more,
        )
        header = file_header(state, model.checkpoint, digest, checkpoint)
        meta = {**header, **record, 'model': kind}
        for key in ('dataset_meta', 'tokenizer'):
            if key in meta_of(checkpoint):
                meta[key] = meta_of(checkpoint)[key]
        if 'tokenizer' in more:
            # The file that was trained with holds the same tensors.
            name = more['tokenizer'].removeprefix(PREFIX)
            known = self.records[name]
            meta['tokenizer'] |= dict(file=name, sha256=known['sha256'])
        path = self.args.out / f'{model.name}.safetensors'
        digest = write_weights(state, path, meta)
        self.records[model.name] = dict(
            file=path.name, bytes=path.stat().st_size, sha256=digest, **record
        )


def compare(exact: dict, small: dict) -> tuple[dict, dict]:
    """Compare the numbers of float32 and float16 weights.

    Args:
        exact: Numbers with float32, and ``tokens`` or ``features``.
        small: The same with float16.

    Returns:
        The numbers with float16; and those with float32, together with
        ``same_tokens`` (in %) or ``feature_error`` (the largest difference,
        divided by the largest value).
    """
    other: dict = {}
    if 'tokens' in exact:
        same = exact.pop('tokens') == small.pop('tokens')
        other['same_tokens'] = round(100 * same.float().mean().item(), 2)
    if 'features' in exact:
        features = exact.pop('features')
        error = (features - small.pop('features')).abs().max()
        other['feature_error'] = float(f'{error / features.abs().max():.1e}')
    return small, {**exact, **other}


def write_manifest(folder: Path, records: dict[str, dict]) -> None:
    """Add records to the manifest, or replace those of the same name."""
    path = folder / MANIFEST
    known = json.loads(path.read_text()) if path.is_file() else {}
    known = dict(sorted({**known, **records}.items()))
    with atomic_write(path) as file:
        text = json.dumps(known, indent=2, ensure_ascii=False)
        file.write(f'{text}\n'.encode())


#: What docs/weights.md says of a number.
UNITS = dict(
    psnr='{} dB PSNR',
    codes_used='{} codes in use',
    knn='10-NN {} %',
    logistic='logistic regression {} %',
    tokens_right='{} % of the masked tokens',
    accuracy='accuracy {} %',
    same_tokens='{} % of the tokens are the same',
    feature_error='largest error {:.0e}',
)
PAGE = REPO / 'docs/weights.md'
MARKS = '<!-- packaged: written by `make weights` -->', '<!-- end -->'


def in_words(numbers: dict) -> str:
    """Numbers of a record, as docs/weights.md shows them."""
    return ', '.join(UNITS[key].format(n) for key, n in numbers.items())


def table(records: dict[str, dict]) -> str:
    """The tables of docs/weights.md: the files, and what float16 costs."""
    files = [
        '| `mmcae://` | what | KB | test images |',
        '|---|---|---|---|',
    ]
    cost = ['| | float32 instead of float16 |', '|---|---|']
    for name, record in records.items():
        files.append(
            f'| `{name}` | {record["kind"]} | {record["bytes"] / 1000:.0f} | '
            f'{in_words(record["numbers"])} |'
        )
        cost.append(f'| `{name}` | {in_words(record["float32"])} |')
    total = sum(record['bytes'] for record in records.values())
    last = f'Together {total / 1e6:.2f} MB.'
    return '\n'.join([*files, '', last, '', *cost])


def write_page(records: dict[str, dict]) -> None:
    """Write the tables into docs/weights.md."""
    page = PAGE.read_text()
    before, _, rest = page.partition(f'{MARKS[0]}\n')
    _, mark, after = rest.partition(MARKS[1])
    PAGE.write_text(f'{before}{MARKS[0]}\n{table(records)}\n{mark}{after}')


def main() -> None:
    args = parse_args()
    for key in args.data:
        maker = Maker(args, key)
        maker.run()
        write_manifest(args.out, maker.records)
    records = json.loads((args.out / MANIFEST).read_text())
    print(table(records))
    if args.out == FOLDER:
        write_page(records)


if __name__ == '__main__':
    main()
