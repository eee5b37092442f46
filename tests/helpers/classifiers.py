# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Configs of the three evaluations, with the sizes of a recording."""

EVALUATIONS = ('finetune', 'linear', 'attentive')


def encoder_config(sizes: dict, **kwargs) -> dict:
    """Config of the encoder, with mmcae's or mmpretrain's class."""
    return (
        dict(
            type='mmcae.CAEViT',
            arch=dict(
                embed_dims=sizes['embed_dim'],
                num_layers=sizes['depth'],
                num_heads=sizes['num_heads'],
                feedforward_channels=4 * sizes['embed_dim'],
            ),
            img_size=sizes['img_size'],
            patch_size=sizes['patch_size'],
        )
        | kwargs
    )


def classifier_config(kind: str, sizes: dict, **backbone) -> dict:
    """Config of one of `EVALUATIONS`."""
    dims, classes = sizes['embed_dim'], sizes.get('num_classes', 7)
    finetune = kind == 'finetune'
    outputs = dict(finetune='avg_featmap', linear='cls_token', attentive='raw')
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=encoder_config(
            sizes,
            out_type=outputs[kind],
            final_norm=not finetune,
            use_rel_pos_bias=finetune,
            **backbone,
        ),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=classes,
            in_channels=dims,
        ),
    )
    if kind == 'linear':
        model['neck'] = dict(
            type='mmpretrain.ClsBatchNormNeck', input_features=dims, eps=1e-6
        )
    if kind == 'attentive':
        model['head'].update(
            type='mmcae.AttentiveProbeHead', num_heads=sizes['num_heads']
        )
    return model
