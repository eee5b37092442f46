# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make a training checkpoint fit to be published.

    python tools/model_converters/publish_model.py SRC DST

Optimizer, schedules, logs, copied teacher and tokenizer are left out; what
says where the weights come from (version, epoch, classes, tokenizer) stays.
DST ends in .pth or .safetensors and gets the first 8 digits of the file's
SHA-256 before its ending, which mmcae and torch.hub check after a download.
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
    """Weights without what is only of use in training, and their origin."""
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
        Its name with the hash, and what became of the tensors.
    """
    checkpoint, digest = read_with_digest(source)
    state_dict, meta = published_weights(checkpoint)
    meta = {**meta, **file_header(state_dict, source, digest, checkpoint)}
    target.parent.mkdir(parents=True, exist_ok=True)
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
