# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Classify an image with a fine-tuned model or a probe, and draw the result.

python demo/image_demo.py demo/demo.jpg CONFIG CHECKPOINT
"""

import argparse
from pathlib import Path

import numpy as np
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint

import mmcae  # noqa: F401
from mmcae.config.overrides import ConfigError
from mmcae.config.search_path import find_config
from mmcae.launch.runner import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('image', type=Path, help='an image file')
    parser.add_argument(
        'config',
        help='config of a classifier: a path, such as that in the work dir of '
        'a run, or the name of a packaged config',
    )
    parser.add_argument(
        'checkpoint', help='its checkpoint: path or URL, .pth or .safetensors'
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/image_demo'),
        help='folder for the picture (default: %(default)s)',
    )
    parser.add_argument('--device', default='cpu', help='default: cpu')
    parser.add_argument(
        '--top', type=int, default=5, help='number of classes to print'
    )
    return parser.parse_args()


def load_classifier(config: Path, checkpoint: str) -> BaseModel:
    """Build a classifier and load all of its weights.

    Args:
        config: A config file.
        checkpoint: Path or URL.

    Returns:
        The model, with the class names of the checkpoint or, if it has none,
        of the dataset.

    Raises:
        ConfigError: If the config does not describe a classifier, or the
            checkpoint lacks some of its weights. (A head with random weights
            would classify by chance.)
    """
    from mmpretrain import get_model
    from mmpretrain.models import ImageClassifier

    model = get_model(str(config))
    if not isinstance(model, ImageClassifier):
        raise ConfigError(
            f"'{config.stem}' is a {type(model).__name__}, not a classifier: "
            'give a config from configs/cae/benchmarks/'
        )
    try:
        loaded = load_checkpoint(model, checkpoint, 'cpu', strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise ConfigError(
            f"{checkpoint} does not hold the weights of '{config.stem}': "
            f'{"; ".join(filter(None, lines))[:400]}'
        ) from None
    meta = loaded.get('meta', {})
    model._dataset_meta = meta.get('dataset_meta') or model._dataset_meta
    return model


def main() -> None:
    args = parse_args()
    from mmpretrain import ImageClassificationInferencer

    if not args.image.is_file():
        raise FileNotFoundError(f'there is no image {args.image}')
    model = load_classifier(find_config(args.config), args.checkpoint)
    inferencer = ImageClassificationInferencer(model, device=args.device)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    (result,) = inferencer(str(args.image), show_dir=str(args.out_dir))
    scores = result['pred_scores']
    for label in np.argsort(scores)[::-1][: args.top]:
        names = inferencer.classes
        name = names[label] if names else f'class {label}'
        print(f'{scores[label]:7.2%}  {name}')
    print(f'picture: {args.out_dir / args.image.stem}.png')


if __name__ == '__main__':
    run(main)
