# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Run tools/dist_*.sh: several processes on a machine without a GPU."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from helpers import toy_project
from mmengine.config import Config
from mmengine.registry import MODELS

from mmcae.checkpoint.reading import write_weights
from mmcae.config.search_path import resource_root

TOOLS = resource_root() / 'tools'

RECORDER = '''
import json

from mmengine.dist import all_reduce, get_dist_info, get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Recorder(Hook):
    """Writes the losses of each step, averaged over the processes."""

    def __init__(self):
        self.rows = []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        row = {}
        for name in ('loss', 'main', 'align'):
            value = outputs[name].detach().double().clone()
            all_reduce(value, 'mean')
            row[name] = value.item()
        self.rows.append(row)

    def after_train(self, runner):
        if get_rank() == 0:
            world = get_dist_info()[1]
            with open(f'{runner.work_dir}/rows.json', 'w') as file:
                json.dump(dict(world=world, rows=self.rows), file)
'''

CAE_CONFIG = """
custom_imports = dict(imports=['recorder'])
default_scope = 'mmpretrain'
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='mmcae.SeededSampler', shuffle=True),
    dataset=dict(
        type='mmcae.FolderDataset',
        data_root='images',
        pipeline=[
            dict(type='mmcae.LoadImage'),
            dict(type='mmcae.RandomFlip', prob=0.5),
            dict(
                type='mmcae.TwoViewRandomResizedCrop',
                size=32,
                second_size=32,
                interpolation='bicubic',
                second_interpolation='lanczos'),
            dict(
                type='mmcae.BlockMaskGenerator',
                input_size=(4, 4),
                num_masking_patches=8,
                min_num_patches=2),
            dict(type='mmpretrain.PackInputs'),
        ]))
model = dict(
    type='mmcae.CAE',
    target_encoder='shared',
    data_preprocessor=dict(
        type='mmpretrain.TwoNormDataPreprocessor',
        mean=[76.5] * 3, std=[89.25] * 3,
        second_mean=[-31.875] * 3, second_std=[318.75] * 3),
    backbone=dict(
        type='mmcae.CAEPretrainViT',
        arch=dict(
            embed_dims=32, num_layers=2, num_heads=2,
            feedforward_channels=64),
        img_size=32, patch_size=8, drop_path_rate=0.0,
        layer_scale_init_value=0.1),
    neck=dict(
        type='mmcae.CAENeck', num_classes=64, embed_dims=32, num_heads=2,
        regressor_depth=1, decoder_depth=1, drop_path_rate=0.0,
        layer_scale_init_value=0.1),
    head=dict(type='mmcae.CAEHead', loss=dict(type='mmcae.CAELoss')),
    target_generator=dict(type='mmcae.DALLEEncoder', n_hid=8, vocab_size=64))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0))
train_cfg = dict(by_epoch=True, max_epochs=2)
custom_hooks = [dict(type='mmengine.Recorder')]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=2),
    checkpoint=dict(type='CheckpointHook', interval=2))
randomness = dict(seed=3)
"""

pytestmark = pytest.mark.slow


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    from mmcae.checkpoint.reading import read_checkpoint

    return read_checkpoint(path)['state_dict']


def test_dist_train__toy_equals_one_process(tmp_path):
    toy_project.write(tmp_path)
    options = ['--cfg-options', 'train_dataloader.batch_size=2']
    two = toy_project.execute(
        [TOOLS / 'dist_train.sh', 'toy.py', 2, '--work-dir', 'two', *options],
        tmp_path,
    )
    assert two.returncode == 0, two.stderr[-3000:]
    one = toy_project.execute(
        [sys.executable, TOOLS / 'train.py', 'toy.py', '--work-dir', 'one'],
        tmp_path,
    )
    assert one.returncode == 0, one.stderr[-3000:]
    expected = load_weights(tmp_path / 'one' / 'epoch_2.pth')
    for name, weight in load_weights(tmp_path / 'two' / 'epoch_2.pth').items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=0)

    tested = toy_project.execute(
        [
            TOOLS / 'dist_test.sh',
            'toy.py',
            'two/epoch_2.pth',
            2,
            '--work-dir',
            'tested',
            '--out',
            'out.json',
            '--out-item',
            'metrics',
        ],
        tmp_path,
    )
    assert tested.returncode == 0, tested.stderr[-3000:]
    metrics = json.loads((tmp_path / 'out.json').read_text())
    assert metrics['count'] == 8
    # One process gave this value at the end of training.
    log = one.stdout + one.stderr
    value = float(re.findall(r'error: ([\d.]+)', log)[-1])
    assert metrics['error'] == pytest.approx(value, abs=1e-4)


def test_dist_train__refuses_a_bad_count_and_prints_its_usage(tmp_path):
    toy_project.write(tmp_path)
    result = toy_project.execute(
        [TOOLS / 'dist_train.sh', 'toy.py', 'two'], tmp_path
    )
    assert result.returncode == 2
    assert "1 or more, not 'two'" in result.stderr
    result = toy_project.execute([TOOLS / 'dist_train.sh', 'toy.py'], tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('Usage: tools/dist_train.sh CONFIG GPUS')


def test_dist_train__config_error_ends_both_processes(tmp_path):
    toy_project.write(tmp_path)
    command = [TOOLS / 'dist_train.sh', 'toy.py', 2]
    command += ['--cfg-options', 'model.wdth=3']
    result = toy_project.execute(command, tmp_path)
    assert result.returncode != 0
    assert "did you mean 'model.width'" in result.stderr


def test_dist_train__cae_equals_one_process(tmp_path):
    write_digits(tmp_path / 'images', count=48)
    (tmp_path / 'recorder.py').write_text(RECORDER)
    (tmp_path / 'cae.py').write_text(CAE_CONFIG)
    one = toy_project.execute(
        [sys.executable, TOOLS / 'train.py', 'cae.py', '--work-dir', 'one'],
        tmp_path,
    )
    assert one.returncode == 0, one.stderr[-3000:]
    options = ['--cfg-options', 'train_dataloader.batch_size=4']
    two = toy_project.execute(
        [TOOLS / 'dist_train.sh', 'cae.py', 2, '--work-dir', 'two', *options],
        tmp_path,
    )
    assert two.returncode == 0, two.stderr[-3000:]

    alone = json.loads((tmp_path / 'one' / 'rows.json').read_text())
    pair = json.loads((tmp_path / 'two' / 'rows.json').read_text())
    assert (alone['world'], pair['world']) == (1, 2)
    assert len(alone['rows']) == len(pair['rows']) == 12
    for step, (first, second) in enumerate(
        zip(alone['rows'], pair['rows'], strict=True)
    ):
        for name, value in first.items():
            assert second[name] == pytest.approx(value, rel=1e-5), (step, name)
    # The weights did change.
    assert alone['rows'][-1]['main'] < alone['rows'][0]['main']

    expected = load_weights(tmp_path / 'one' / 'epoch_2.pth')
    weights = load_weights(tmp_path / 'two' / 'epoch_2.pth')
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        difference = (weight - expected[name]).norm()
        if name.endswith('norm1_k_cross.bias'):
            # The softmax does not change if all keys are shifted by the same
            # vector. The exact gradient is 0, and Adam scales the rounding
            # errors up to full steps.
            assert difference < 12 * 1.5e-3 * weight.numel() ** 0.5
            continue
        assert difference <= 1e-5 * expected[name].norm(), name


@pytest.mark.parametrize('loop', ['epochs', 'iterations'])
def test_dist_train__two_processes_share_a_token_store(tmp_path, loop):
    write_digits(tmp_path / 'images', count=16)
    (tmp_path / 'recorder.py').write_text(RECORDER)
    text = CAE_CONFIG
    if loop == 'iterations':
        for old, new in (
            ('mmcae.SeededSampler', 'mmcae.SeededInfiniteSampler'),
            ('by_epoch=True, max_epochs=2', 'by_epoch=False, max_iters=5'),
            ('interval=2))', 'interval=5, by_epoch=False))'),
        ):
            assert old in text
            text = text.replace(old, new)
    (tmp_path / 'cae.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'cae.py', import_custom_modules=False)
    torch.manual_seed(0)
    tokenizer = MODELS.build(cfg.model.target_generator)
    write_weights(tokenizer.state_dict(), tmp_path / 'tokenizer.pth')
    options = [
        'train_dataloader.batch_size=4',
        'model.target_generator.init_cfg.type=Pretrained',
        'model.target_generator.init_cfg.checkpoint=tokenizer.pth',
    ]
    rows = {}
    for name, more in (
        ('computed', []),
        ('filling', ['token_store=tokens']),
        ('reading', ['token_store=tokens']),
    ):
        result = toy_project.execute(
            [
                TOOLS / 'dist_train.sh',
                'cae.py',
                2,
                '--work-dir',
                name,
                '--cfg-options',
                *options,
                *more,
            ],
            tmp_path,
        )
        assert result.returncode == 0, result.stderr[-3000:]
        rows[name] = json.loads((tmp_path / name / 'rows.json').read_text())
        assert rows[name]['world'] == 2
        log = result.stdout + result.stderr
        if name == 'reading':
            assert '(100.0%) came' in log
    assert rows['computed'] == rows['filling'] == rows['reading']


def write_digits(folder: Path, count: int) -> None:
    """scikit-learn's digits as PNG files of 40 px."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder.mkdir()
    for index, digit in enumerate(load_digits().images[:count]):
        image = Image.fromarray((digit * 15).astype('uint8'))
        image = image.convert('RGB').resize((40, 40), Image.Resampling.BICUBIC)
        image.save(folder / f'{index:03d}.png')
