# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every load logs, in one entry, what happened to each tensor."""

import logging

import pytest
import torch
from helpers.classifiers import classifier_config
from helpers.recordings import TINY, FixedTokens, cae_config
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, load_checkpoint
from torch import nn

import mmcae  # noqa: F401
from mmcae.checkpoint import load_with_report


@pytest.fixture
def log(caplog):
    """The log entries of mmengine from here on."""
    MMLogger.get_current_instance().addHandler(caplog.handler)
    caplog.set_level(logging.INFO)

    def entries():
        return [
            record
            for record in caplog.records
            if record.getMessage().startswith('Loaded into')
        ]

    caplog.entries = entries
    yield caplog
    MMLogger.get_current_instance().removeHandler(caplog.handler)


@pytest.fixture
def pretrained(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    state = MODELS.build(cae_config(TINY)).state_dict()
    torch.save({'state_dict': state, 'meta': {}}, path)
    return str(path)


def backbone(**kwargs):
    config = cae_config(TINY)['backbone']
    config.update(type='mmcae.CAEViT', use_rel_pos_bias=True, **kwargs)
    return config


def classifier(**kwargs):
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=backbone(**kwargs),
        head=dict(
            type='mmpretrain.LinearClsHead', num_classes=10, in_channels=32
        ),
    )


def only(log):
    (entry,) = log.entries()
    return entry.getMessage().splitlines(), entry.levelname


def test_load__one_line_if_all_tensors_match(log, pretrained):
    load_checkpoint(MODELS.build(cae_config(TINY)), pretrained)
    assert only(log) == (['Loaded into CAE: all 79 tensors matched'], 'INFO')
    assert 'do not match' not in log.text


def test_load__a_resumed_run_logs_one_line(log, tmp_path):
    tokens = torch.zeros(1, 16, dtype=torch.long)
    model = MODELS.build(cae_config(TINY))
    model.target_generator = FixedTokens(tokens)
    state = model.state_dict()
    # The step counters of batch norms are not weights; old files lack them.
    probe = MODELS.build(classifier_config('linear', TINY))
    counted = {
        k: v for k, v in probe.state_dict().items() if 'num_batches' not in k
    }
    for module, weights in ((model, state), (probe, counted)):
        log.clear()
        torch.save({'state_dict': weights}, tmp_path / 'last.pth')
        load_checkpoint(module, str(tmp_path / 'last.pth'))
        (line,), level = only(log)
        assert line.endswith(f': all {len(weights)} tensors matched')
        assert level == 'INFO'


def test_load__pretrained_encoder(log, pretrained):
    init = dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.')
    model = MODELS.build(classifier(img_size=96, init_cfg=init))
    model.init_weights()
    assert only(log) == (
        [
            'Loaded into CAEViT: 33 matched, 2 missing, 0 unexpected, '
            '1 resized, 0 dropped, 2 renamed, 2 derived',
            '  missing: layers.{0..1}.attn.relative_position_bias_table (2)',
            '  resized: pos_embed (1, 17, 32) -> (1, 37, 32)',
            '  renamed: ln1.* (2) -> ln2.* (2)',
            '  derived: layers.{0..1}.attn.relative_position_index (2)',
        ],
        'WARNING',
    )
    assert 'do not match' not in log.text


def test_load__whole_model(log, pretrained, tmp_path):
    model = MODELS.build(classifier())
    load_checkpoint(model, pretrained)
    lines, level = only(log)
    assert level == 'WARNING'
    assert lines[0].endswith(
        '34 matched, 4 missing, 43 unexpected, 0 resized, 0 dropped, '
        '2 renamed, 2 derived'
    )
    assert lines[1].endswith('head.* (2)')
    assert lines[2] == '  unexpected: neck.* (43)'
    log.clear()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'cls.pth')
    larger = classifier(img_size=96)
    larger['head']['num_classes'] = 7
    load_checkpoint(MODELS.build(larger), str(tmp_path / 'cls.pth'))
    lines, level = only(log)
    assert level == 'WARNING'
    assert lines[1] == (
        '  of another shape: head.fc.weight (10, 32) instead of (7, 32), '
        'head.fc.bias (10,) instead of (7,)'
    )
    assert lines[2].endswith(
        'backbone.layers.{0..1}.attn.relative_position_bias_table (2) '
        '(52, 4) -> (124, 4)'
    )


def test_load__lists_what_is_dropped_on_purpose(log, pretrained, tmp_path):
    checkpoint = torch.load(pretrained)
    state = checkpoint['state_dict']
    for key in [k for k in state if k.startswith('backbone.')]:
        state[key.replace('backbone.', 'teacher.')] = state[key]
    state['target_generator.blocks.input.w'] = torch.zeros(3)
    torch.save(checkpoint, tmp_path / 'theirs.pth')
    load_checkpoint(
        MODELS.build(cae_config(TINY)), str(tmp_path / 'theirs.pth')
    )
    lines, level = only(log)
    assert level == 'INFO'
    assert lines == [
        'Loaded into CAE: 79 matched, 0 missing, 0 unexpected, 0 resized, '
        '37 dropped',
        '  dropped: teacher.* (36), target_generator.blocks.input.w',
    ]
    log.clear()
    copied = MODELS.build(cae_config(TINY, target_encoder='copy'))
    load_checkpoint(copied, pretrained)
    assert only(log)[0][1] == '  derived: teacher.* (36)'


def test_load__copies_shared_tables_to_every_layer(log, tmp_path):
    config = backbone(img_size=96)
    config.update(
        type='mmpretrain.BEiTViT',
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
    )
    state = MODELS.build(config).state_dict()
    torch.save(state, tmp_path / 'shared.pth')
    load_checkpoint(MODELS.build(backbone()), str(tmp_path / 'shared.pth'))
    lines, level = only(log)
    assert level == 'INFO'
    table = 'layers.{0..1}.attn.relative_position_bias_table (2)'
    assert lines[1].endswith(f'{table} (124, 4) -> (52, 4)')
    assert lines[2] == (
        f'  renamed: rel_pos_bias.relative_position_bias_table -> {table}'
    )


def segmentor():
    pytest.importorskip('mmseg.models')
    return dict(
        type='mmseg.EncoderDecoder',
        backbone=backbone(out_type='featmap'),
        decode_head=dict(
            type='mmseg.FCNHead',
            in_channels=32,
            channels=8,
            num_classes=3,
            in_index=0,
            norm_cfg=dict(type='BN'),
        ),
    )


def detector():
    pytest.importorskip('mmdet.models')
    return dict(
        type='mmdet.SingleStageDetector',
        backbone=backbone(out_type='featmap'),
        bbox_head=dict(
            type='mmdet.RetinaHead',
            num_classes=2,
            in_channels=32,
            feat_channels=8,
        ),
    )


@pytest.mark.parametrize(
    ('make', 'scope'), [(segmentor, 'mmseg'), (detector, 'mmdet')]
)
def test_load__models_of_other_repositories(log, make, scope, pretrained):
    config = make()
    # The configs of these models name their parts without a scope.
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(config)
    load_checkpoint(model, pretrained)
    lines, _ = only(log)
    assert lines[0].startswith(f'Loaded into {type(model).__name__}: 34 ')
    assert '  unexpected: neck.* (43)' in lines
    assert '  dropped: backbone.ln1.* (2)' in lines
    log.clear()
    config['backbone']['init_cfg'] = dict(
        type='Pretrained', checkpoint=pretrained, prefix='backbone.'
    )
    with DefaultScope.overwrite_default_scope(scope):
        MODELS.build(config).init_weights()
    assert only(log)[0][0].startswith('Loaded into CAEViT: 34 matched')


def test_load__runner_and_get_model(log, pretrained, tmp_path):
    from mmpretrain import get_model

    runner = Runner(
        cae_config(TINY),
        work_dir=str(tmp_path),
        load_from=pretrained,
        experiment_name=tmp_path.name,
    )
    runner.logger.addHandler(log.handler)
    runner.load_or_resume()
    assert only(log)[0] == ['Loaded into CAE: all 79 tensors matched']
    log.clear()
    config = Config(dict(model=classifier()))
    get_model(config, pretrained=pretrained)
    runner.logger.removeHandler(log.handler)
    assert only(log)[0][0].startswith('Loaded into ImageClassifier: 34 ')


def test_load__other_models_are_left_to_mmengine(log, tmp_path):
    torch.save({'state_dict': {'weight': torch.zeros(1)}}, tmp_path / 'w.pth')
    load_checkpoint(nn.Linear(1, 1), str(tmp_path / 'w.pth'), logger='current')
    assert not log.entries()
    assert 'do not match exactly' in log.text


def test_load__strict_raises_as_before(pretrained):
    with pytest.raises(RuntimeError, match='unexpected key'):
        load_checkpoint(MODELS.build(classifier()), pretrained, strict=True)


def test_load__no_matching_tensor_is_an_error(log, pretrained, tmp_path):
    init = dict(type='Pretrained', checkpoint=pretrained)
    with pytest.raises(ValueError, match=r"init_cfg: .*prefix='backbone\.'"):
        MODELS.build(backbone(init_cfg=init)).init_weights()
    state = torch.load(pretrained)['state_dict']
    encoder = {
        k.removeprefix('backbone.'): v
        for k, v in state.items()
        if k.startswith('backbone.')
    }
    torch.save(encoder, tmp_path / 'encoder.pth')
    with pytest.raises(ValueError, match="backbone's init_cfg") as info:
        load_checkpoint(
            MODELS.build(classifier()), str(tmp_path / 'encoder.pth')
        )
    message = str(info.value)
    assert 'like {cls_token,pos_embed} (2), patch_embed.' in message
    assert 'names like backbone.layers.{0..1}.' in message
    wide = dict(
        embed_dims=64, num_layers=2, num_heads=4, feedforward_channels=256
    )
    init['prefix'] = 'backbone.'
    with pytest.raises(ValueError, match='another size'):
        MODELS.build(backbone(arch=wide, init_cfg=init)).init_weights()
    # Every ViT has these two keys.
    other = {k: encoder[k] for k in ('cls_token', 'pos_embed')}
    other['blocks.0.attn.qkv.weight'] = torch.zeros(1)
    torch.save(other, tmp_path / 'mae.pth')
    with pytest.raises(ValueError, match='another model'):
        load_checkpoint(MODELS.build(backbone()), str(tmp_path / 'mae.pth'))
    assert not log.entries()


def test_load__no_encoder_weights_is_a_warning(log, tmp_path):
    head = {'head.fc.bias': torch.ones(10), 'layer1.0.w': torch.ones(1)}
    torch.save(head, tmp_path / 'resnet.pth')
    model = MODELS.build(classifier())
    load_checkpoint(model, str(tmp_path / 'resnet.pth'))
    assert model.head.fc.bias.sum() == 10
    warning, report = log.entries()
    assert warning.levelname == 'WARNING'
    assert 'nothing of the encoder was loaded' in warning.getMessage()
    assert ': 1 matched' in report.getMessage()


def test_load_state_dict_of_torch__logs_what_is_resized(log):
    larger = MODELS.build(backbone(img_size=96))
    larger.load_state_dict(MODELS.build(backbone()).state_dict())
    assert 'Resized pos_embed (1, 17, 32) -> (1, 37, 32)' in log.text


def test_check_not_in_vain__is_the_old_name():
    old = load_with_report.check_not_in_vain
    assert old is load_with_report.require_encoder_weights


@pytest.mark.parametrize(
    ('channels', 'words'),
    [
        (1, '3 channels added up to 1'),
        (4, '3 channels repeated to 4, copies share their weight'),
        (16, '3 channels repeated to 16, copies share their weight'),
    ],
)
def test_load__other_channels_are_adapted_and_reported(
    log, pretrained, channels, words
):
    model = MODELS.build(classifier(in_channels=channels)).eval()
    load_checkpoint(model, pretrained)
    lines, _ = only(log)
    (resized,) = (line for line in lines if 'resized: ' in line)
    assert 'backbone.patch_embed' in resized
    assert resized.endswith(f'(32, 3, 16, 16) -> (32, {channels}, 16, 16)')
    assert lines[-1] == f'  patch embedding: {words}'

    # A gray image gives the features of the encoder for three channels.
    three = MODELS.build(classifier()).eval()
    load_checkpoint(three, pretrained)
    gray = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        ours, theirs = (
            part.backbone(gray.expand(-1, count, -1, -1))[0]
            for part, count in ((model, channels), (three, 3))
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
