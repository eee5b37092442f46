# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""mmengine's EMAHook trains, saves and resumes a CAE."""

import torch
from helpers.token_runs import config, train

EMA = dict(type='EMAHook', momentum=0.5)


def test_ema_hook__averages_the_weights_of_a_cae(photos, tmp_path):
    cfg = config(photos, tmp_path, epochs=1, custom_hooks=[EMA])
    losses, weights = train(cfg)
    assert len(losses) > 1
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    # The hook saves the averages as the weights of the model, and the weights
    # that were trained beside them.
    averaged, trained = saved['state_dict'], saved['ema_state_dict']
    assert averaged.keys() == weights.keys()
    name = 'backbone.cls_token'
    assert torch.equal(trained[f'module.{name}'], weights[name])
    assert not torch.equal(averaged[name], weights[name])


def test_ema_hook__resumes_with_the_same_weights(photos, tmp_path):
    def cfg(name, epochs, **options):
        return config(photos, tmp_path / name, epochs, **options)

    hooks = [dict(type='mmcae.IterationSeedHook'), EMA]
    whole = train(cfg('whole', 2, custom_hooks=hooks))
    train(cfg('first', 1, custom_hooks=hooks))
    file = str(tmp_path / 'first' / 'epoch_1.pth')
    rest = train(
        cfg('rest', 2, custom_hooks=hooks, resume=True, load_from=file)
    )
    assert rest[0] == whole[0][len(whole[0]) // 2 :]
    for name, value in whole[1].items():
        assert torch.equal(value, rest[1][name]), name
