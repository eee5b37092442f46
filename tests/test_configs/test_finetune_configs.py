# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The fine-tuning recipes against the authors', part by part."""

import json
import math
import re

import numpy as np
import pytest
import torch
from helpers.recordings import Recording, relative_error
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from PIL import Image
from sklearn.datasets import load_sample_images

import mmcae  # noqa: F401
from mmcae.config.search_path import find_config
from mmcae.utils import load_config

BASE = 'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k'
LARGE = 'beit-large-p16_cae-pre_8xb64-coslr-50e_in1k'
IMAGES = 1_281_167


@pytest.fixture(scope='module', params=[BASE, LARGE])
def recipe(request):
    return Config.fromfile(find_config(request.param))


def load(name=BASE):
    return Config.fromfile(find_config(name))


def tiny(config, sizes, **backbone):
    """The recipe's model with the sizes of a recording."""
    dims = sizes['embed_dim']
    config.model.backbone.update(
        arch=dict(
            embed_dims=dims,
            num_layers=sizes['depth'],
            num_heads=sizes['num_heads'],
            feedforward_channels=4 * dims,
        ),
        img_size=sizes['img_size'],
        patch_size=sizes['patch_size'],
        layer_scale_init_value=sizes['layer_scale'],
        **backbone,
    )
    config.model.head.update(
        num_classes=sizes.get('num_classes', 1000), in_channels=dims
    )
    config.model.data_preprocessor = dict(
        config.data_preprocessor, num_classes=sizes.get('num_classes', 1000)
    )
    return MODELS.build(config.model)


def test_recipe__numbers_of_the_authors(recipe):
    large = recipe.model.backbone.arch == 'large'
    wrapper = recipe.optim_wrapper
    assert wrapper.type == 'mmcae.AmpOptimWrapper'
    assert 'clip_grad' not in wrapper
    assert wrapper.optimizer.to_dict() == dict(
        type='AdamW',
        lr=2e-3 if large else 8e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
        fused=True,  # the same mathematics in one kernel
    )
    decay = wrapper.paramwise_cfg.layer_decay_rate
    assert decay == (0.75 if large else 0.65)
    assert recipe.train_cfg.max_epochs == (50 if large else 100)
    assert recipe.model.backbone.drop_path_rate == (0.2 if large else 0.1)
    per_process = recipe.train_dataloader.batch_size
    assert 8 * per_process * wrapper.accumulative_counts == 4096
    assert recipe.auto_scale_lr.base_batch_size == 8 * per_process
    assert recipe.val_dataloader.batch_size == per_process * 3 // 2
    assert recipe.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert recipe.data_preprocessor.std == [58.395, 57.12, 57.375]


def test_recipe__parameters(recipe):
    with torch.device('meta'):
        model = MODELS.build(recipe.model)
    total = sum(p.numel() for p in model.parameters())
    large = recipe.model.backbone.arch == 'large'
    assert total == (304_632_296 if large else 86_682_280)
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ['backbone.pos_embed']
    rates = [layer.drop_path.drop_prob for layer in model.backbone.layers]
    assert rates[0] == 0.0
    assert rates[-1] == pytest.approx(recipe.model.backbone.drop_path_rate)


@pytest.mark.parametrize(
    ('name', 'length', 'epochs', 'scale'),
    [
        (BASE, 1251, 100, 0.65**13),
        (LARGE, 2502, 50, 0.75**25),
    ],
)
def test_recipe__learning_rate_follows_the_authors_at_each_update(
    name, length, epochs, scale
):
    config = load(name)
    counts = config.optim_wrapper.accumulative_counts
    assert length == IMAGES // (8 * config.train_dataloader.batch_size)
    peak = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak * scale)
    schedulers = []
    for item in config.param_scheduler:
        item = item.copy()
        assert item.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(item.pop('type'))
        schedulers.append(
            kind.build_iter_from_epoch(
                optimizer=optimizer, epoch_length=length, **item
            )
        )
    per_epoch = length / counts  # 312.75; the authors drop the fraction
    warm, total = 5 * per_epoch, epochs * per_epoch
    worst, last = 0.0, None
    for step in range(epochs * length):
        if (step + 1) % counts == 0:  # an update
            update = step // counts
            if update < warm:
                expected = peak * update / (warm - 1)
            else:
                share = (update - warm) / (total - warm)
                cosine = (1 + math.cos(math.pi * share)) / 2
                expected = 1e-6 + (peak - 1e-6) * cosine
            last = optimizer.param_groups[0]['lr']
            worst = max(worst, abs(last - expected * scale))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert worst < 1e-3 * peak * scale
    # The floor is scaled as well.
    assert last == pytest.approx(1e-6 * scale, rel=1e-3)


def test_head__starts_small(recipe):
    head = MODELS.build(recipe.model.head)
    torch.manual_seed(0)
    head.init_weights()
    weight = head.fc.weight
    assert weight.std().item() == pytest.approx(2e-5, rel=0.01)
    assert weight.abs().max() <= 2e-3
    assert not head.fc.bias.any()


def test_loss__is_the_soft_cross_entropy_of_smoothed_mixed_labels():
    head = MODELS.build(load().model.head).loss_module
    torch.manual_seed(0)
    logits = torch.randn(3, 1000)
    labels = torch.zeros(3, 1000)
    labels[[0, 1, 2], [3, 5, 7]] = 0.7
    labels[[0, 1, 2], [5, 7, 3]] += 0.3
    target = labels * 0.9 + 0.1 / 1000
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(head(logits, labels), expected)


def test_mixing__each_batch_is_mixed_one_of_two_ways():
    model = tiny(load(), Recording('evaluation_tiny').config)
    mixer = model.data_preprocessor.batch_augments
    names = [type(item).__name__ for item in mixer.augments]
    assert names == ['Mixup', 'CutMix']
    assert [item.alpha for item in mixer.augments] == [0.8, 1.0]
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    torch.manual_seed(0)
    np.random.seed(0)
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    data = dict(inputs=images, data_samples=samples)
    mixed = 0
    for _ in range(4):
        out = model.data_preprocessor(data, training=True)
        scores = torch.stack([s.gt_score for s in out['data_samples']])
        torch.testing.assert_close(scores.sum(1), torch.ones(4))
        mixed += int((scores.max(1).values < 1).any())
        for sample in samples:
            sample.pop('gt_score')
    assert mixed >= 3  # a permutation may leave all images in place


def test_pipelines__give_training_and_evaluation_images():
    config = load()
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3))
    image = image.astype(np.uint8)
    train = Compose(config.train_dataloader.dataset.pipeline)
    test = Compose(config.val_dataloader.dataset.pipeline)
    for _ in range(8):
        result = train(dict(img=image.copy(), gt_label=3))
        assert result['inputs'].shape == (3, 224, 224)
        assert result['inputs'].dtype == torch.uint8
    out = test(dict(img=image.copy(), gt_label=3))['inputs']
    assert out.shape == (3, 224, 224)
    resized = Image.fromarray(image).resize((341, 256), Image.BICUBIC)
    expected = np.asarray(resized)[16:240, 58:282].transpose(2, 0, 1)
    difference = np.abs(out.numpy().astype(int) - expected.astype(int))
    assert difference.max() <= 1


def test_pretrained__the_authors_checkpoint_fills_the_model(tmp_path):
    recording = Recording('pretrain_tiny')
    weights = recording.group('weights')
    path = tmp_path / 'official.pth'
    torch.save({'model': weights}, path)
    config = load()
    assert config.model.backbone.init_cfg.prefix == 'backbone.'
    config.model.backbone.init_cfg.checkpoint = str(path)
    model = tiny(config, recording.config)
    model.init_weights()
    encoder = model.backbone
    for leaf in ('weight', 'bias'):
        assert torch.equal(
            getattr(encoder.ln2, leaf), weights[f'encoder.norm.{leaf}']
        )
    for ours, theirs in (
        (encoder.cls_token, 'cls_token'),
        (encoder.pos_embed, 'pos_embed'),
        (encoder.layers[1].gamma_2, 'blocks.1.gamma_2'),
        (encoder.layers[1].attn.q_bias, 'blocks.1.attn.q_bias'),
    ):
        assert torch.equal(ours, weights[f'encoder.{theirs}'])
    assert not encoder.layers[0].attn.relative_position_bias_table.any()
    assert not encoder.pos_embed.requires_grad
    assert model.head.fc.weight.abs().max() <= 2e-3


def test_recording__logits_loss_and_every_gradient(tmp_path):
    """The authors' fine-tuned model, converted while it is loaded."""
    from mmengine.runner import load_checkpoint

    from mmcae.utils import from_official

    recording = Recording('evaluation_tiny')
    path = tmp_path / 'finetuned.pth'
    torch.save({'model': recording.group('finetune/weights')}, path)
    config = load()
    config.model.backbone.pop('init_cfg')
    model = tiny(config, recording.config, drop_path_rate=0.0)
    load_checkpoint(model, str(path), strict=True)
    model.eval()
    logits = model(recording['inputs/images'])
    reference = recording['finetune/outputs/logits_eval']
    assert relative_error(logits, reference) < 1e-5
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(4))
    assert relative_error(loss, recording['finetune/outputs/loss']) < 1e-5
    loss.backward()
    # The position table has no gradient; the converter needs its name to
    # recognize the file.
    gradients = recording.group('finetune/grads')
    gradients = from_official({**gradients, 'pos_embed': torch.zeros(1)})
    del gradients['backbone.pos_embed']
    parameters = dict(model.named_parameters())
    del parameters['backbone.pos_embed']
    assert gradients.keys() == parameters.keys()
    for name, gradient in gradients.items():
        error = relative_error(parameters[name].grad, gradient)
        assert error < 1e-5, (name, error)


def test_zoo__gives_the_recipes_classifier_and_infers():
    """Our entry replaces mmpretrain's entry of the same name."""
    from mmpretrain import ImageClassificationInferencer, get_model

    from mmcae.models import CAEViT

    model = get_model(BASE)
    assert type(model.backbone) is CAEViT
    assert model._metainfo.results[0].metrics['Top 1 Accuracy'] == 83.6
    inferencer = ImageClassificationInferencer(model, device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3))
    (result,) = inferencer(image.astype(np.uint8))
    assert result['pred_scores'].shape == (1000,)
    assert result['pred_class'] in model._dataset_meta['classes']


def test_names__are_known_to_the_config_check(recipe):
    name = LARGE if recipe.model.backbone.arch == 'large' else BASE
    key = 'model.backbone.init_cfg.checkpoint'
    config = load_config(name, {key: 'encoder.pth'})
    assert config.model.backbone.init_cfg.checkpoint == 'encoder.pth'


def test_step__updates_once_in_four_iterations():
    config = load()
    config.model.backbone.pop('init_cfg')
    model = tiny(config, Recording('evaluation_tiny').config)
    model.init_weights()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    wrapper.initialize_count_status(model, 0, 8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    changed = []
    for _ in range(4):
        samples = [DataSample().set_gt_label(i) for i in range(4)]
        data = dict(inputs=images, data_samples=samples)
        loss = model.train_step(data, wrapper)['loss']
        assert loss.item() == pytest.approx(math.log(7), abs=0.01)
        changed.append(
            {
                k
                for k, v in model.state_dict().items()
                if (v != before[k]).any()
            }
        )
    assert changed[:3] == [set()] * 3
    frozen = ('pos_embed', 'relative_position_index')
    # Layer scales and a head that starts at 2e-5 make the gradients tiny, but
    # not Adam's step.
    assert changed[3] == {k for k in before if not k.endswith(frozen)}


@pytest.fixture
def image_folder(tmp_path):
    """Two classes of crops of photographs, in ImageNet's layout."""
    for split in ('train', 'val'):
        for label, pixels in enumerate(load_sample_images().images):
            folder = tmp_path / 'data' / split / f'n0000000{label}'
            folder.mkdir(parents=True)
            for i in range(4):
                image = Image.fromarray(pixels[::2, 8 * i :: 2])
                image.save(folder / f'{i}.jpg')
    return tmp_path / 'data'


def test_run__trains_validates_and_prints_each_epochs_accuracy(
    image_folder, tmp_path
):
    recording = Recording('pretrain_tiny')
    encoder = tmp_path / 'official.pth'
    torch.save({'model': recording.group('weights')}, encoder)
    config = load_config(
        BASE,
        {
            'model.backbone.init_cfg.checkpoint': str(encoder),
            'data_root': str(image_folder),
        },
    )
    sizes = recording.config
    config.model.backbone.arch = dict(
        embed_dims=sizes['embed_dim'],
        num_layers=sizes['depth'],
        num_heads=sizes['num_heads'],
        feedforward_channels=4 * sizes['embed_dim'],
    )
    config.model.head.in_channels = sizes['embed_dim']
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader.dataset.metainfo = dict(classes=['china', 'flower'])
    config.pop('test_dataloader')
    config.pop('test_evaluator')
    config.pop('test_cfg')
    config.train_cfg.max_epochs = 3
    config.param_scheduler = config.param_scheduler[:1]
    config.work_dir = str(tmp_path / 'work')
    runner = Runner.from_cfg(config)
    runner.train()
    history = runner.message_hub.get_scalar('val/accuracy/top1').data[0]
    measured = [float(value) for value in history]
    (log,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    printed = [r['accuracy/top1'] for r in records if 'accuracy/top1' in r]
    assert len(printed) == 3
    assert printed == pytest.approx(measured)


def test_log__means_are_of_training_only(recipe):
    pattern = recipe.log_processor.mean_pattern
    assert re.search(pattern, 'loss')
    assert not re.search(pattern, 'accuracy/top1')
