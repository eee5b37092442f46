# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Detect objects in images and write them with boxes and masks.

    python demo/det_demo.py CONFIG CHECKPOINT photo.jpg --out-dir pictures

writes the picture ``pictures/vis/photo.jpg``, and boxes, scores and masks (as
run-length codes) to ``pictures/preds/photo.json``. Class names come from the
checkpoint.
"""

import argparse
from pathlib import Path

from mmdet.apis import DetInferencer

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
    parser.add_argument('--out-dir', default='work_dirs/det_demo')
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:0 (default: a GPU if there is one)',
    )
    parser.add_argument(
        '--score',
        type=float,
        default=0.3,
        help='lowest score that is drawn, 0 to 1',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for path in (args.checkpoint, *args.images):
        if '://' not in path and not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    inferencer = DetInferencer(
        str(find_config(args.config)),
        args.checkpoint,
        device=args.device,
        show_progress=False,
    )
    inferencer(
        args.images,
        out_dir=args.out_dir,
        pred_score_thr=args.score,
        no_save_pred=False,
    )
    print(f'{len(args.images)} picture(s) in {args.out_dir}/vis')


if __name__ == '__main__':
    run(main)
