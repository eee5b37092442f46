# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Segment images, and write them with the classes painted over them.

    python demo/seg_demo.py CONFIG CHECKPOINT photo.jpg --out-dir pictures

writes the picture ``pictures/vis/photo.jpg`` and the label map
``pictures/pred/*.png``. Names and colors of the classes come from the
checkpoint.
"""

import argparse
from pathlib import Path

from mmseg.apis import MMSegInferencer

from mmcae.config.search_path import find_config
from mmcae.launch.runner import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config', help='config file, or the name of a packaged config'
    )
    parser.add_argument(
        'checkpoint', help='checkpoint of a run with that config'
    )
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument('--out-dir', default='work_dirs/seg_demo')
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:0 (default: a GPU if there is one)',
    )
    parser.add_argument(
        '--opacity',
        type=float,
        default=0.6,
        help='opacity of the painted classes, 0 to 1',
    )
    parser.add_argument(
        '--no-labels',
        action='store_true',
        help='do not write class names into the picture',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for path in (args.checkpoint, *args.images):
        if '://' not in path and not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    inferencer = MMSegInferencer(
        str(find_config(args.config)),
        args.checkpoint,
        device=args.device,
        show_progress=False,
    )
    inferencer(
        args.images,
        out_dir=args.out_dir,
        opacity=args.opacity,
        with_labels=not args.no_labels,
    )
    print(f'{len(args.images)} picture(s) in {args.out_dir}/vis')


if __name__ == '__main__':
    run(main)
