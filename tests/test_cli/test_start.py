# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`mmcae pretrain --start`: continue from weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import foreign_encoders as foreign
from helpers.tiny_checkpoint import write_checkpoints
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmpretrain.registry import MODELS
from PIL import Image

from mmcae.checkpoint.errors import StartError
from mmcae.checkpoint.start_encoder import read_start
from mmcae.cli.planning import length
from mmcae.cli.planning import measure as measure_module
from mmcae.cli.planning import start as start_module
from mmcae.cli.planning.adaptation import ADAPTATION
from mmcae.cli.planning.choices import choose, size_of
from mmcae.cli.planning.configs import write_configs, write_finetuning
from mmcae.cli.planning.folder import Folder
from mmcae.cli.planning.length import set_length
from mmcae.cli.planning.machine import Machine
from mmcae.cli.planning.plan import PlanError, Request
from mmcae.cli.planning.sizes import SIZES
from mmcae.cli.planning.start import (
    EXAMPLE,
    look_at_start,
    resolve,
    template_of,
)
from mmcae.config.overrides import load_config
from mmcae_command import main

GB = 10**9
LAPTOP = Machine(cores=4, memory=8 * GB, disk=100 * GB)
DIGITS = 'mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px'
VIT = str(foreign.DATA / 'vit')


def plan_from(start, **values):
    folder = Folder('photos', 300, decoded_bytes=10**7)
    request = Request(start=start, **values)
    return set_length(choose(folder, LAPTOP, request), request), folder


def built(plan, folder, root):
    """CAE as the written config builds and initializes it."""
    for name, text in write_configs(plan, folder, root).items():
        (root / name).write_text(text)
    cfg = load_config(root / 'cae.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if 'mmcae://' not in cfg.model.target_generator.init_cfg.checkpoint:
            cfg.model.target_generator.pop('init_cfg')
        model = MODELS.build(cfg.model)
        model.init_weights()
    return cfg, model.eval()


def features(encoder, images):
    with torch.no_grad():
        return encoder(images)[-1]


def test_start__packaged_cae_with_its_tokenizer(tmp_path):
    start = look_at_start(DIGITS, None)
    plan, folder = plan_from(start)
    assert plan.tokenizer is None
    assert (plan.image_size, plan.patch_size) == (32, 8)
    cfg, model = built(plan, folder, tmp_path)
    assert not (tmp_path / 'tokenizer.py').exists()
    assert cfg.model.data_preprocessor.mean == [76.5] * 3
    loaded = read_start(DIGITS)
    for part in ('backbone', 'neck'):
        ours = getattr(model, part).state_dict()
        theirs = loaded.neck if part == 'neck' else loaded.state
        assert len(theirs) == len(ours)
        for key, value in theirs.items():
            assert torch.equal(ours[key], value.float()), key
    info = model.target_generator.weights_info
    assert info['file'].startswith('dvae_f8-k64_1xb32-13e_digits-32px')
    # A lower peak than from random weights.
    scratch, _ = plan_from(None)
    assert plan.cae.lr == ADAPTATION.peak_factor * scratch.cae.lr
    share = plan.cae.epochs / scratch.cae.epochs
    assert share == pytest.approx(ADAPTATION.epochs_share, rel=0.02)
    assert 'the tokenizer is the same' in start.describe()


def test_start__packaged_cae_with_a_new_tokenizer(tmp_path):
    start = look_at_start(DIGITS, 'dvae')
    plan, folder = plan_from(start)
    assert plan.tokenizer is not None
    _, model = built(plan, folder, tmp_path)
    loaded = read_start(DIGITS).neck
    ours = model.neck.state_dict()
    assert len(ours['head.weight']) == plan.vocab_size
    for key, value in loaded.items():
        same = torch.equal(ours[key], value.float())
        assert same != key.startswith('head.'), key
    assert 'the last layer is new' in start.describe()


def test_start__own_run_with_its_tokenizer_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_checkpoints(tmp_path)
    start = look_at_start(str(path), None)
    assert start.tokenizer is not None
    name = start.tokenizer['init_cfg']['checkpoint']
    assert name.endswith('epoch_13.pth')
    # Another file of that name is another tokenizer.
    other = torch.load(name, weights_only=False)
    torch.save({**other, 'more': 1}, name)
    meta = torch.load(path, weights_only=False)
    meta['meta']['tokenizer'] = dict(type='DVAE', sha256='0' * 64)
    torch.save(meta, path)
    assert look_at_start(str(path), None).tokenizer is None


def test_start__encoder_of_transformers(tmp_path):
    start = look_at_start(VIT, None)
    assert start.arch['num_heads'] == foreign.HEADS
    assert start.eps == 1e-12
    plan, folder = plan_from(start)
    cfg, model = built(plan, folder, tmp_path)
    assert cfg.model.backbone.norm_cfg.eps == 1e-12
    theirs = foreign.recorded_features('ViT')
    ours = features(model.backbone, foreign.images())
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    assert model.neck.embed_dims == foreign.WIDTH
    assert 'regressor and decoder are new' in start.describe()
    # The config for fine-tuning has the same sizes.
    text = write_finetuning(plan, folder, tmp_path)
    (tmp_path / 'finetune.py').write_text(text)
    backbone = load_config(tmp_path / 'finetune.py').model.backbone
    assert dict(backbone.arch) == start.arch
    assert backbone.norm_cfg.eps == 1e-12


def test_start__by_options_of_a_config(tmp_path):
    options = {
        'model.backbone.init_cfg.type': 'mmcae.StartFrom',
        'model.backbone.init_cfg.checkpoint': DIGITS,
    }
    cfg = load_config('cae_tiny-p8_1xb32-coslr-80e_digits-32px', options)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        encoder = MODELS.build(cfg.model.backbone)
    encoder.init_weights()
    theirs = read_start(DIGITS).state
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, theirs[key].float()), key


def test_start__layer_decay_reaches_the_config(tmp_path, monkeypatch):
    decayed = replace(ADAPTATION, layer_decay=0.75)
    monkeypatch.setattr(start_module, 'ADAPTATION', decayed)
    plan, folder = plan_from(look_at_start(DIGITS, None))
    cfg, _ = built(plan, folder, tmp_path)
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.75
    assert cfg.optim_wrapper.constructor.startswith('mmcae.LayerDecay')


def test_start__sizes(subtests):
    start = look_at_start(DIGITS, None)
    for width, depth, size in (
        (96, 4, 'tiny'),
        (384, 12, 'small'),
        (768, 12, 'base'),
        (1024, 24, 'large'),
    ):
        arch = dict(
            embed_dims=width,
            num_layers=depth,
            num_heads=width // 32,
            feedforward_channels=4 * width,
        )
        with subtests.test(size=size):
            other = replace(start, arch=arch, neck=None)
            assert template_of(other) == size
            spec = size_of(size, other)
            usual = SIZES[size]
            assert (spec.width, spec.num_heads) == (width, width // 32)
            assert spec.fixed_memory < 1.1 * usual.fixed_memory
    # The width is the encoder's, also where the neck has another one.
    narrow = replace(start, neck={**start.neck, 'embed_dims': 32})
    assert size_of('tiny', narrow).width == 64


def test_start__few_images_are_told_of_it():
    plan, _ = plan_from(None)
    assert any(f'--start {EXAMPLE}' in note for note in plan.notes)
    assert look_at_start(EXAMPLE, None).tokenizer is not None
    plan, _ = plan_from(look_at_start(EXAMPLE, None))
    assert not any('--start' in note for note in plan.notes)


def test_resolve__every_way_to_name_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = DIGITS.removeprefix('mmcae://')
    assert resolve(DIGITS) == resolve(name) == DIGITS
    assert resolve(f'configs/cae/{name}.py') == DIGITS
    assert resolve('https://host/x.pth') == 'https://host/x.pth'
    (tmp_path / 'x.pth').touch()
    assert resolve('x.pth') == str(tmp_path / 'x.pth')
    with pytest.raises(FileNotFoundError, match=r'--start y\.pth'):
        resolve('y.pth')


def test_start__mistakes_are_one_sentence(tmp_path):
    with pytest.raises(PlanError, match='leave --size out'):
        plan_from(look_at_start(DIGITS, None), size='small')
    path = tmp_path / 'vit.pth'
    torch.save(foreign.timm_vit(reg_tokens=2).state_dict(), path)
    with pytest.raises(StartError, match='register tokens'):
        look_at_start(str(path), None, num_heads=2)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Sixteen pictures, and runs of two epochs."""
    monkeypatch.setattr(length, '_usual_epochs', lambda *args: 2)
    monkeypatch.setattr(measure_module, 'MOST_STEPS', 1)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'photos'
    root.mkdir()
    for index in range(16):
        rng = np.random.default_rng(index)
        small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 48)).save(root / f'{index}.png')
    return root


def run(*arguments):
    for manager in (MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    try:
        return main(['pretrain', *map(str, arguments)])
    except SystemExit as end:
        return end.code


def test_pretrain__continues_from_weights(photos, tmp_path, capsys):
    assert run(photos, '--out', 'run', '--start', DIGITS) == 0
    printed = ' '.join(capsys.readouterr().out.split())
    assert f'start {DIGITS} (CAE of mmcae or mmpretrain' in printed
    assert 'the tokenizer is the same' in printed
    assert 'CAE: step 4 of 4' in printed
    assert not (tmp_path / 'run/tokenizer.py').exists()
    plan = json.loads((tmp_path / 'run/plan.json').read_text())
    assert plan['asked']['start'] == DIGITS
    (log,) = (tmp_path / 'run/cae').rglob('*.log')
    assert f'CAEPretrainViT starts from {DIGITS}' in log.read_text()
    # The same command has nothing to do; another start is an error.
    assert run(photos, '--out', 'run', '--start', DIGITS) == 0
    assert 'CAE: done' in capsys.readouterr().out
    assert run(photos, '--out', 'run', '--start', EXAMPLE) == 2
    assert 'has a run with another --start' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--start', 'nowhere.pth'], '--start nowhere.pth: there is no'),
        (['--num-heads', '2'], '--num-heads belongs to --start'),
        (['--start', DIGITS, '--size', 'tiny'], 'leave --size out'),
        (['--start', 'junk.pth'], 'holds no encoder that can start a CAE'),
    ],
)
def test_pretrain__wrong_start_is_one_sentence(
    arguments, words, photos, capsys
):
    torch.save({'conv.weight': torch.zeros(3)}, 'junk.pth')
    assert run(photos, '--dry-run', *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
