# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write a checkpoint for publication from one of training.

    python tools/model_converters/publish_model.py SRC DST

The published file has no optimizer, schedules, logs, teacher or tokenizer. It
keeps what describes the weights: version, epoch, classes, name of the
tokenizer. DST ends in .pth or .safetensors. The tool adds the first 8 digits
of the file's SHA-256 to the name; mmcae and torch.hub check them after a
download.
"""

import os
import sys
from pathlib import Path

from converter_cli import converter_parser, parse_paths, refuse

from mmcae.checkpoint.file_header import file_header
from mmcae.checkpoint.load_report import LoadReport, conversion_report
from mmcae.checkpoint.official import convert_if_official
from mmcae.checkpoint.reading import read_with_digest, write_weights
from mmcae.checkpoint.weights import meta_of, weights_of

LEFT_OUT = ('teacher.', 'target_generator.', 'data_preprocessor.')
KEPT_META = (
    'mmengine_version',
    'epoch',
    'iter',
    'dataset_meta',
    'tokenizer',
    'experiment_name',
)


def published_weights(checkpoint: dict) -> tuple[dict, dict]:
    """Return the weights to publish, and the metadata that describes them."""
    checkpoint = convert_if_official(checkpoint)
    state_dict = {
        key: value
        for key, value in weights_of(checkpoint).items()
        if not key.startswith(LEFT_OUT)
    }
    meta = meta_of(checkpoint)
    return state_dict, {key: meta[key] for key in KEPT_META if key in meta}


def publish(source: Path, target: Path) -> tuple[Path, LoadReport]:
    """Write the published file.

    Returns:
        Its path with the hash in the name, and a report on the tensors.
    """
    checkpoint, digest = read_with_digest(source)
    state_dict, meta = published_weights(checkpoint)
    meta = {**meta, **file_header(state_dict, source, digest, checkpoint)}
    digest = write_weights(state_dict, target, meta)
    final = target.with_name(f'{target.stem}-{digest[:8]}{target.suffix}')
    os.replace(target, final)
    title = f'Written to {final}'
    return final, conversion_report(title, weights_of(checkpoint), state_dict)


def main() -> int:
    args = parse_paths(converter_parser(__doc__))
    try:
        final, report = publish(args.src, args.dst)
    except (ValueError, FileNotFoundError) as error:
        return refuse(args.src, error)
    before, after = (path.stat().st_size for path in (args.src, final))
    print(report)
    print(f'{after / 2**20:.1f} MB, was {before / 2**20:.1f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
