# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A loss outside of its band is named, with the cause that the run shows."""

import logging
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.scripts import load_script
from helpers.token_runs import assert_equal, config, train
from mmengine.config import Config
from mmengine.hooks import Hook, LoggerHook
from mmengine.logging import MessageHub
from PIL import Image

from mmcae.config.search_path import find_config
from mmcae.engine.band_causes import Inputs, Seen, find_causes
from mmcae.engine.hooks.loss_band_hook import LossBandHook
from mmcae.launch.runner import build_runner
from mmcae.zoo.band_settings import curve_settings, digest_of
from mmcae.zoo.loss_bands import Band, Match

DIGITS = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'
TOKENIZER = 'mmcae://dvae_f8-k64_1xb32-13e_digits-32px'
SETTINGS = {'images': 100, 'processes': 1}
BAND = Band(
    recipe='recipe',
    settings=SETTINGS,
    digest=digest_of(SETTINGS),
    steps=[50, 1000],
    curves=dict(
        loss=dict(low=[2.0, 2.0], high=[3.0, 3.0]),
        align=dict(low=[0.4, 0.4], high=[0.6, 0.6]),
    ),
    lr=[0.1, 0.1],
    perplexity=[40.0, 40.0],
    acc=[0.3, 0.3],
    acc_position=[0.2, 0.2],
    inputs=(0.0, 1.0),
    masked=0.5,
)
HEALTHY = Seen(0.1, 40.0, 0.3, 0.2, Inputs(0.0, 1.0, 0.5))
MATCH = Match(BAND, {}, True)


@pytest.mark.parametrize(
    ('seen', 'cause'),
    [
        ({}, None),
        (dict(lr=3.0), 'learning rate is 3, 30 times'),
        (dict(lr=0.01), 'learning rate is 0.01, 0.1 times'),
        (dict(lr=0.11), None),
        (dict(inputs=Inputs(76.0, 89.0, 0.5)), 'normalization'),
        (dict(inputs=Inputs(0.0, 0.004, 0.5)), 'normalization'),
        (dict(inputs=Inputs(0.1, 0.9, 0.5)), None),
        (dict(inputs=Inputs(0.0, 1.0, 0.1)), '10% of the patches'),
        (dict(inputs=Inputs(0.0, 1.0, 0.9)), '90% of the patches'),
        (dict(inputs=Inputs(0.0, 1.0, None)), None),
        (dict(perplexity=4.0), 'it has collapsed'),
        (dict(perplexity=90.0), 'it is another one'),
        (dict(acc=0.2), 'do not belong to the images'),
        (dict(acc=0.1, acc_position=0.05), 'do not belong to the images'),
        # What is not known is no cause.
        (dict(lr=None, inputs=None, acc=None, perplexity=None), None),
    ],
)
def test_find_causes__by_the_numbers(seen, cause):
    found = find_causes(MATCH, 500, replace(HEALTHY, **seen))
    assert len(found) == (cause is not None)
    if cause is not None:
        assert cause in found[0]


def test_find_causes__names_the_setting():
    key = 'model.data_preprocessor.mean'
    match = Match(BAND, {key: ([76.5], [0.0]), 'lr': (1, 2)}, True)
    seen = replace(HEALTHY, inputs=Inputs(76.0, 89.0, 0.5))
    (cause,) = find_causes(match, 500, seen)
    assert cause.endswith(f'({key})')


class Loader(list):
    """A data loader of one long epoch."""

    dataset = range(100)


class FakeRun:
    """Feeds losses to a hook, as a Runner that logs every 10 iterations."""

    def __init__(self, tmp_path, settings=None, recipe='recipe', **options):
        BAND.save(tmp_path / 'bands' / 'recipe.json')
        logger = logging.getLogger(str(tmp_path))
        logger.setLevel(logging.INFO)
        self.hook = LossBandHook(str(tmp_path / 'bands'))
        self.runner = SimpleNamespace(
            cfg=SimpleNamespace(
                filename=f'{recipe}.py', to_dict=lambda: settings or {}
            ),
            hooks=[LoggerHook(interval=10)],
            iter=0,
            max_iters=10_000,
            logger=logger,
            message_hub=MessageHub(str(tmp_path)),
            model=torch.nn.Identity(),
            train_dataloader=Loader([0] * 10_000),
            **options,
        )
        self.hook.before_train(self.runner)

    def log(self, loss, iterations=50, **numbers):
        for _ in range(iterations):
            for name, value in dict(numbers, loss=loss).items():
                self.runner.message_hub.update_scalar(f'train/{name}', value)
            self.hook.after_train_iter(self.runner, self.runner.iter)
            self.runner.iter += 1


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [
        (r.levelname, r.getMessage().removeprefix('Loss band: '))
        for r in caplog.records
        if r.getMessage().startswith('Loss band: ')
    ]


def test_hook__one_warning_and_one_line_when_it_is_back(tmp_path, lines):
    run = FakeRun(tmp_path)
    run.log(2.5, 100)
    assert [level for level, _ in lines()] == ['INFO']
    assert '3 trainings of recipe' in lines()[0][1]
    run.log(4.0, 300, lr=5.0)
    (level, text), *more = lines()[1:]
    assert (level, more) == ('WARNING', [])
    # The mean over 50 iterations is outside for the second time.
    assert text.startswith(
        'at iteration 130, the loss is above the band of recipe: 3.4, and '
        'the band is 2 to 3. Likely cause: '
    )
    assert 'learning rate is 5, 50 times that of the recipe' in text
    assert 'from the start' not in text
    run.log(2.5, 300)
    ((level, text),) = lines()[2:]
    assert level == 'INFO'
    assert 'the loss is in the band again' in text
    run.log(1.0, 300)
    ((level, text),) = lines()[3:]
    assert (level, 'is below the band' in text) == ('WARNING', True)


def test_hook__a_term_may_leave_the_band_alone(tmp_path, lines):
    run = FakeRun(tmp_path)
    run.log(2.5, 100, align=0.5)
    run.log(2.5, 100, align=0.1)
    ((level, text),) = lines()[1:]
    assert level == 'WARNING'
    assert 'the term align of the loss is below the band' in text
    run.log(2.5, 100, align=0.5)
    assert 'align of the loss is in the band again' in lines()[-1][1]


def test_hook__compares_a_run_with_a_mistake_and_says_so(tmp_path, lines):
    settings = dict(model=dict(data_preprocessor=dict(mean=[0.0])))
    run = FakeRun(tmp_path, settings, recipe='mine')
    assert 'differs in model.data_preprocessor.mean: [0.0]' in lines()[0][1]
    run.log(9.0, 100)
    assert 'The run differs in model.data_preprocessor' in lines()[1][1]


def test_hook__a_loss_that_was_never_inside(tmp_path, lines):
    run = FakeRun(tmp_path)
    run.log(9.0, 200)
    ((level, text),) = lines()[1:]
    assert level == 'WARNING'
    assert 'above the band of recipe from the start' in text
    assert 'Are the images others?' in text  # no number shows a cause


def test_hook__one_look_is_no_sign(tmp_path, lines):
    run = FakeRun(tmp_path)
    run.log(2.5, 95)
    run.log(100.0, 10)  # one look
    run.runner.message_hub.log_scalars.clear()
    run.log(2.5, 100)
    assert len(lines()) == 1


def test_hook__says_once_that_the_band_is_of_another_config(tmp_path, lines):
    run = FakeRun(tmp_path, dict(train_cfg=dict(max_epochs=3)))
    run.log(100.0, 300)
    ((level, text),) = lines()
    assert level == 'INFO'
    assert 'recipe does not hold for this run' in text
    assert 'train_cfg.max_epochs: 3 (in the recipe none)' in text


def test_hook__is_idle_without_a_band(tmp_path, lines):
    settings = dict(train_cfg=dict(max_epochs=3))
    FakeRun(tmp_path, settings, recipe='mine').log(100.0, 300)
    assert lines() == []


def test_hook__refuses_what_is_no_band(tmp_path):
    with pytest.raises(FileNotFoundError, match='no loss band'):
        LossBandHook(str(tmp_path / 'none'))


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        pixels = rng.integers(0, 255, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')
    return folder


def test_hook__changes_no_number(photos, tmp_path):
    """Also while it warns, and looks at a batch."""
    # Without the hook that seeds each iteration: a draw would be seen.
    options = dict(epochs=20, custom_hooks=[])
    cfg = config(photos, tmp_path / 'plain', **options)
    plain = train(cfg)
    settings = curve_settings(cfg.to_dict(), 12)
    band = replace(
        BAND,
        settings=settings,
        digest=digest_of(settings),
        curves=dict(loss=dict(low=[99, 99], high=[100, 100])),
    )
    band.save(tmp_path / 'band.json')
    band_hook = dict(type='mmcae.LossBandHook', bands=f'{tmp_path}/band.json')
    options['custom_hooks'] = [band_hook]
    watched = train(config(photos, tmp_path / 'watched', **options))
    assert_equal(plain, watched)
    (log,) = (tmp_path / 'watched').glob('*/*.log')
    assert 'is below the band of recipe from the start' in log.read_text()


class StoppedOnPurpose(Exception):
    """The training was long enough."""


class Stop(Hook):
    """Ends a training after some iterations."""

    priority = 'LOWEST'

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def after_train_iter(self, runner, *_, **__):
        if runner.iter + 1 == self.iterations:
            raise StoppedOnPurpose


def digits_log(tmp_path, data, iterations, shuffled=False, **changes) -> str:
    """Train the digits recipe for some iterations; return its log."""
    cfg = Config.fromfile(find_config(DIGITS))
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path),
            'experiment_name': tmp_path.name,
            'train_dataloader.dataset.data_root': str(data),
            'model.target_generator.init_cfg.checkpoint': TOKENIZER,
            'default_hooks.logger.interval': 20,
            'randomness.seed': 7,
            **changes,
        }
    )
    runner = build_runner(cfg)
    runner.register_hook(Stop(iterations))
    if shuffled:
        tokenizer = runner.model.target_generator
        tokenize = tokenizer.tokenize

        def shuffle(*args, **kwargs):
            tokens = tokenize(*args, **kwargs)
            order = torch.randperm(tokens.numel())
            return tokens.flatten()[order].view(tokens.shape)

        tokenizer.tokenize = shuffle
    with pytest.raises(StoppedOnPurpose):
        runner.train()
    (log,) = tmp_path.glob('*/*.log')
    return log.read_text()


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp('digits')
    load_script('tools/dataset_converters/digits.py').write_digits(folder)
    return folder / 'train'


MASK = 'train_dataloader.dataset.pipeline.2.num_masking_patches'


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'cause', 'iterations', 'changes'),
    [
        ('normal', None, 300, {}),
        (
            'rate',
            'the learning rate is 0.0',
            600,
            {'optim_wrapper.optimizer.lr': 0.06},
        ),
        (
            'normalization',
            'the normalization',
            400,
            {
                'model.data_preprocessor.mean': [0.0] * 3,
                'model.data_preprocessor.std': [1.0] * 3,
            },
        ),
        ('mask', 'the mask: 12% of the patches', 650, {MASK: 2}),
        ('tokens', 'the tokens: ', 240, dict(shuffled=True)),
    ],
)
def test_hook__names_forced_faults(
    tmp_path, digits, name, cause, iterations, changes
):
    log = digits_log(tmp_path / name, digits, iterations, **changes)
    assert 'the loss is compared with 3 trainings' in log
    warnings = re.findall(r'WARNING - Loss band: (.*)', log)
    if cause is None:
        assert warnings == []
    else:
        assert f'Likely cause: {cause}' in warnings[0]
