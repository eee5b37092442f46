# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Make a training checkpoint fit to be published.

    python tools/model_converters/publish_model.py SRC DST

Optimizer, schedules, logs, copied teacher and tokenizer are left out; what
says where the weights come from (version, epoch, classes, tokenizer) stays.
DST ends in .pth or .safetensors and gets the first 8 digits of the file's
SHA-256 before its ending, which mmcae and torch.hub check after a download.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from mmcae.utils.checkpoint_io import read_checkpoint, write_weights
from mmcae.utils.official import convert_if_official, unwrap

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
        for key, value in unwrap(checkpoint).items()
        if not key.startswith(LEFT_OUT)
    }
    meta = checkpoint.get('meta') or {}
    return state_dict, {key: meta[key] for key in KEPT_META if key in meta}


def publish(source: Path, target: Path) -> Path:
    """Write the published file; return its name with the hash."""
    state_dict, meta = published_weights(read_checkpoint(source))
    if target.suffix == '.safetensors':
        meta = {key: json.dumps(value) for key, value in meta.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = write_weights(state_dict, target, meta)
    final = target.with_name(f'{target.stem}-{digest[:8]}{target.suffix}')
    os.replace(target, final)
    return final


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', type=Path, help='checkpoint of a training')
    parser.add_argument(
        'dst', type=Path, help='file to write: .pth or .safetensors'
    )
    args = parser.parse_args()
    if args.dst.suffix not in ('.pth', '.safetensors'):
        parser.error(f'{args.dst} must end in .pth or .safetensors')
    try:
        final = publish(args.src, args.dst)
    except (ValueError, FileNotFoundError) as error:
        print(f'{args.src}: {error}', file=sys.stderr)
        return 1
    before, after = (path.stat().st_size for path in (args.src, final))
    print(f'{final} ({after / 2**20:.1f} MB, was {before / 2**20:.1f} MB)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
