# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""Make the loss band of a recipe from several of its trainings.

    for seed in 0 1 2; do
        python tools/train.py CONFIG --work-dir work_dirs/seed$seed \
            --cfg-options randomness.seed=$seed
    done
    python tools/analysis_tools/loss_band.py work_dirs/seed? --out bands

writes ``bands/CONFIG.json``. With this hook, a training of the config warns
when its loss leaves the band, and names causes:

    custom_hooks = [..., dict(type='mmcae.LossBandHook', bands='bands')]

The images must still be where the trainings have read them: their number, and
what a batch looks like to the model, belong to the band.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmcae.apis.run_folder import RunFolder, read_run
from mmcae.engine.band_causes import Inputs, look_at
from mmcae.registry import MODELS
from mmcae.zoo.band_making import make_band
from mmcae.zoo.band_settings import curve_settings, digest_of
from mmcae.zoo.loss_bands import LEAST_MARGIN, WINDOW

#: Images for the mean and the standard deviation of the inputs.
_IMAGES = 256


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument(
        '--out', type=Path, required=True, help='the folder for the band'
    )
    parser.add_argument(
        '--recipe', help="name of the recipe (default: the config's name)"
    )
    parser.add_argument(
        '--processes',
        type=int,
        default=1,
        help='how many processes trained together (default: 1)',
    )
    parser.add_argument(
        '--margin',
        type=float,
        default=LEAST_MARGIN,
        help='least distance of the band from the losses, as a share of '
        'them (default: %(default)s)',
    )
    return parser.parse_args()


def look_at_data(config: dict[str, Any]) -> tuple[int, Inputs]:
    """Count the training images, and look at a batch as the model gets it.

    Args:
        config: The config of a training.
    """
    cfg = Config(config)
    scope = cfg.get('default_scope', 'mmpretrain')
    DefaultScope.get_instance('loss_band', scope_name=scope)
    loader_cfg = dict(cfg.train_dataloader, batch_size=_IMAGES)
    loader_cfg.update(num_workers=0, persistent_workers=False)
    loader_cfg['drop_last'] = False
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get(
        'data_preprocessor'
    )
    torch.manual_seed(0)
    batch = next(iter(loader))
    inputs = look_at(MODELS.build(dict(preprocessor)), batch)
    return len(loader.dataset), inputs  # type: ignore[arg-type]


def check_runs(runs: list[RunFolder], processes: int) -> None:
    """Check that the trainings belong together.

    Raises:
        ValueError: If they differ in a setting that moves the curve, one has
            not reached its end, or the log has no means over 50 iterations.
    """
    first = curve_settings(runs[0].config, None, processes)
    for run in runs:
        if run.status != 'done':
            raise ValueError(f'{run.path} is {run.status}, not done')
        window = (run.config.get('log_processor') or {}).get('window_size')
        if window != WINDOW:
            raise ValueError(
                f'{run.path}: log_processor.window_size is {window}, and a '
                f'band is made of means over {WINDOW} iterations'
            )
        settings = curve_settings(run.config, None, processes)
        if digest_of(settings) != digest_of(first):
            keys = [k for k in first if settings.get(k) != first[k]]
            raise ValueError(
                f'{run.path} was trained with other settings than '
                f'{runs[0].path}: {", ".join(keys) or "more settings"}'
            )


def main() -> int:
    args = parse_args()
    try:
        runs = [read_run(folder) for folder in args.work_dirs]
        check_runs(runs, args.processes)
        configs = sorted(runs[0].path.glob('*.py'))
        recipe = args.recipe or (configs[0].stem if configs else 'recipe')
        images, inputs = look_at_data(runs[0].config)
        band = make_band(
            recipe,
            curve_settings(runs[0].config, images, args.processes),
            [run.records for run in runs],
            margin=args.margin,
            inputs=(round(inputs.mean, 3), round(inputs.std, 3)),
            masked=inputs.masked and round(inputs.masked, 3),
            torch=torch.__version__.split('+')[0],
        )
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    path = args.out / f'{recipe}.json'
    band.save(path)
    print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
