# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The detection recipes against the authors', number by number."""

import pytest
import torch
from mmengine.registry import MODELS

import mmcae  # noqa: F401
from mmcae.utils import load_config

pytest.importorskip('mmdet.models')

NAME = 'mask-rcnn_beit-{}_16xb2-amp-12e_coco'
BASE, LARGE = 'base-p16_cae-300e-pre', 'large-p16_cae-1600e-pre'
# Box and mask AP that the authors report.
QUOTED = {
    BASE: (48.3, 42.7),
    'base-p16_cae-800e-pre': (49.9, 43.9),
    'base-p16_cae-1600e-pre': (50.3, 44.2),
    LARGE: (54.5, 47.5),
}
CASCADE = 'cascade-mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-12e_coco'
WINDOW = 'mask-rcnn_beit-base-p16_cae-300e-pre_16xb2-amp-window14-12e_coco'


@pytest.fixture(scope='module', params=QUOTED)
def recipe(request):
    return request.param, load_config(NAME.format(request.param))


def test_recipe__optimizer_and_length(recipe):
    size, config = recipe
    large = size == LARGE
    wrapper = config.optim_wrapper
    assert wrapper.type == 'mmcae.AmpOptimWrapper'
    assert wrapper.get('clip_grad') is None
    assert wrapper.get('accumulative_counts', 1) == 1
    assert wrapper.optimizer == dict(
        type='AdamW',
        lr=2e-4 if large else 3e-4,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
        fused=True,  # the same mathematics in one kernel
    )
    assert wrapper.paramwise_cfg.layer_decay_rate == (0.85 if large else 0.75)
    assert config.train_cfg == dict(
        type='mmcae.EpochBasedTrainLoop', max_epochs=12, val_interval=12
    )
    assert config.default_hooks.checkpoint.interval == 1
    assert 16 * config.train_dataloader.batch_size == 32
    assert config.auto_scale_lr.base_batch_size == 32
    assert config.default_scope == 'mmdet'


def test_recipe__encoder_and_pyramids(recipe):
    size, config = recipe
    large = size == LARGE
    width = 1024 if large else 768
    backbone = config.model.backbone.copy()
    initial = backbone.pop('init_cfg')
    assert f'epoch_{size.split("-")[-2][:-1]}.pth' in initial.checkpoint
    assert initial.type == 'Pretrained'
    assert initial.prefix == 'backbone.'
    assert backbone == dict(
        type='mmcae.CAEViT',
        arch='large' if large else 'base',
        img_size=224,
        patch_size=16,
        out_type='featmap',
        out_indices=(7, 11, 15, 23) if large else (3, 5, 7, 11),
        final_norm=False,
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        drop_path_rate=0.2,
        layer_scale_init_value=1e-5 if large else 0.1,
        with_cp=True,
        **(dict(weight_init='beit') if large else {}),
    )
    assert config.model.neck == [
        dict(
            type='mmcae.FeaturePyramid',
            embed_dims=width,
            norm_cfg=dict(type='SyncBN', requires_grad=True),
        ),
        dict(
            type='FPN',
            in_channels=[width] * 4,
            out_channels=256,
            num_outs=5,
        ),
    ]


def test_recipe__proposals(recipe):
    _, config = recipe
    model = config.model
    assert model.type == 'MaskRCNN'
    rpn = model.rpn_head
    assert (rpn.in_channels, rpn.feat_channels) == (256, 256)
    assert rpn.anchor_generator == dict(
        type='AnchorGenerator',
        scales=[8],
        ratios=[0.5, 1.0, 2.0],
        strides=[4, 8, 16, 32, 64],
    )
    assert rpn.loss_bbox == dict(type='L1Loss', loss_weight=1.0)
    train, test = model.train_cfg, model.test_cfg
    assert train.rpn.allowed_border == -1
    assert train.rpn.sampler.num == 256
    assert train.rpn.sampler.pos_fraction == 0.5
    for stage, number in ((train.rpn_proposal, 2000), (test.rpn, 1000)):
        assert stage == dict(
            nms_pre=number,
            max_per_img=number,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0,
        )


def test_recipe__boxes_and_masks(recipe):
    _, config = recipe
    model = config.model
    head = model.roi_head.bbox_head.copy()
    coder = head.pop('bbox_coder')
    assert coder.target_means == [0.0, 0.0, 0.0, 0.0]
    assert coder.target_stds == [0.1, 0.1, 0.2, 0.2]
    assert head == dict(
        type='ConvFCBBoxHead',
        num_shared_convs=4,
        num_shared_fcs=1,
        in_channels=256,
        conv_out_channels=256,
        fc_out_channels=1024,
        roi_feat_size=7,
        num_classes=80,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        reg_class_agnostic=False,
        reg_decoded_bbox=True,
        loss_cls=dict(
            type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0
        ),
        loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
    )
    mask = model.roi_head.mask_head
    assert (mask.type, mask.num_convs) == ('FCNMaskHead', 4)
    assert (mask.conv_out_channels, mask.num_classes) == (256, 80)
    train, test = model.train_cfg.rcnn, model.test_cfg.rcnn
    assert train.mask_size == 28
    assert train.assigner == dict(
        type='MaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.5,
        match_low_quality=True,
        ignore_iof_thr=-1,
    )
    assert (train.sampler.num, train.sampler.pos_fraction) == (512, 0.25)
    assert test == dict(
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
        mask_thr_binary=0.5,
    )


def test_recipe__training_images(recipe):
    _, config = recipe
    load, annotations, flip, choice, pack = (
        config.train_dataloader.dataset.pipeline
    )
    assert load == dict(type='LoadImageFromFile')
    assert annotations == dict(
        type='LoadAnnotations', with_bbox=True, with_mask=True
    )
    assert flip == dict(type='RandomFlip', prob=0.5)
    assert pack.type == 'PackDetInputs'
    assert choice.type == 'RandomChoice'
    assert choice.get('prob') is None  # both with the same probability
    (usual,), (before, crop, after) = choice.transforms
    sides = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert usual == after
    assert usual == dict(
        type='RandomChoiceResize',
        scales=[(side, 1333) for side in sides],
        keep_ratio=True,
    )
    assert before == dict(
        type='RandomChoiceResize',
        scales=[(side, 1333) for side in (400, 500, 600)],
        keep_ratio=True,
    )
    assert crop == dict(
        type='RandomCrop',
        crop_type='absolute_range',
        crop_size=(384, 600),
        allow_negative_crop=True,
    )
    preprocessor = config.model.data_preprocessor
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor.std == [58.395, 57.12, 57.375]
    assert preprocessor.bgr_to_rgb
    assert preprocessor.pad_size_divisor == 32
    assert preprocessor.pad_mask


def test_recipe__data_and_test(subtests):
    for name in (*map(NAME.format, QUOTED), CASCADE, WINDOW):
        with subtests.test(name):
            check_data_and_test(name)


def check_data_and_test(name):
    config = load_config(name, {'data_root': '/sets/coco'})
    steps = config.test_dataloader.dataset.pipeline
    assert steps[1] == dict(type='Resize', scale=(1333, 800), keep_ratio=True)
    assert not any('Flip' in step.type for step in steps)
    assert config.test_evaluator.metric == ['bbox', 'segm']
    for phase, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = config[f'{phase}_dataloader'].dataset
        assert dataset.data_root == '/sets/coco'
        assert dataset.ann_file == f'annotations/instances_{split}2017.json'
        assert dataset.data_prefix.img == f'{split}2017/'
    for phase in ('val', 'test'):
        assert config[f'{phase}_evaluator'].ann_file == (
            '/sets/coco/annotations/instances_val2017.json'
        )


def test_cascade__is_the_authors_model_on_the_same_encoder():
    config, other = load_config(CASCADE), load_config(NAME.format(BASE))
    for key in ('backbone', 'neck', 'data_preprocessor'):
        assert config.model[key] == other.model[key]
    for key in ('optim_wrapper', 'param_scheduler', 'train_dataloader'):
        assert config[key] == other[key]
    model = config.model
    assert model.type == 'CascadeRCNN'
    assert model.rpn_head.loss_bbox.type == 'SmoothL1Loss'
    assert model.roi_head.num_stages == 3
    assert model.roi_head.stage_loss_weights == [1, 0.5, 0.25]
    for head in model.roi_head.bbox_head:
        assert head.type == 'Shared2FCBBoxHead'
        assert head.reg_class_agnostic
        assert head.loss_bbox.type == 'SmoothL1Loss'
    train = model.train_cfg
    assert train.rpn.allowed_border == 0
    assert [stage.assigner.pos_iou_thr for stage in train.rcnn] == [
        0.5, 0.6, 0.7,
    ]  # fmt: skip


def test_window__changes_the_attention_only():
    config, other = load_config(WINDOW), load_config(NAME.format(BASE))
    assert config.model.backbone.pop('window_size') == 14
    for key in ('model', 'optim_wrapper', 'param_scheduler'):
        assert config[key] == other[key]
    backbone = dict(config.model.backbone, window_size=14)
    backbone.pop('init_cfg')
    with torch.device('meta'):
        model = MODELS.build(backbone)
    everywhere = [
        i
        for i, layer in enumerate(model.layers)
        if layer.attn.window_size is None
    ]
    assert everywhere == [2, 5, 8, 11]


def test_zoo__names_carry_the_quoted_results(recipe):
    from mmpretrain.apis.model import ModelHub

    size, _ = recipe
    entry = ModelHub.get(NAME.format(size))
    box, mask = QUOTED[size]
    assert [result.metrics for result in entry.results] == [
        {'box AP': box},
        {'mask AP': mask},
    ]
    assert entry.metadata.data['Source of Results'] == 'quoted (official)'
