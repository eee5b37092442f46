# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The plan of `mmcae pretrain`: tables of folders, machines and decisions."""

from dataclasses import replace

import pytest

from mmcae.cli import pretrain
from mmcae.cli.planning.choices import (
    choose,
    smaller_batch,
    total_batch,
)
from mmcae.cli.planning.folder import Folder
from mmcae.cli.planning.length import set_length
from mmcae.cli.planning.machine import GPU, Machine
from mmcae.cli.planning.plan import PlanError, Request
from mmcae.cli.planning.sizes import SIZES
from mmcae.cli.planning.text import verdict
from mmcae.utils.durations import duration_text, parse_duration

GB = 10**9
LAPTOP = Machine(cores=4, memory=8 * GB, disk=100 * GB)
CARD = Machine(16, 64 * GB, (GPU('card', 12 * GB, 11 * GB),), 100 * GB)
SERVER = Machine(64, 512 * GB, (GPU('big', 80 * GB, 79 * GB),), 1000 * GB)


def photos(images, **values):
    return Folder('photos', images, decoded_bytes=150_000 * images, **values)


def measured(plan, tokenizer=0.05, cae=0.1):
    first = plan.tokenizer and replace(plan.tokenizer, seconds=tokenizer)
    return replace(plan, tokenizer=first, cae=replace(plan.cae, seconds=cae))


@pytest.mark.parametrize(
    ('images', 'machine', 'size'),
    [
        (300, LAPTOP, 'tiny'),
        (1_000_000, LAPTOP, 'tiny'),
        (300, CARD, 'tiny'),
        (5_000, CARD, 'small'),
        (200_000, CARD, 'small'),  # base does not fit
        (5_000, SERVER, 'small'),  # base would need more images
        (200_000, SERVER, 'base'),
    ],
)
def test_choose__size(images, machine, size):
    assert choose(photos(images), machine, Request()).size == size


@pytest.mark.parametrize(
    ('short_side', 'size', 'seconds', 'image_size', 'patch_size'),
    [
        (480, 'tiny', None, 48, 8),
        (480, 'tiny', 7200, 64, 8),
        (16, 'tiny', None, 32, 8),
        (480, 'small', None, 224, 16),
        (100, 'small', None, 112, 8),
        (32, 'small', None, 64, 8),
    ],
)
def test_choose__resolution(short_side, size, seconds, image_size, patch_size):
    folder = photos(5_000, short_side=short_side)
    plan = choose(folder, CARD, Request(size, seconds))
    assert (plan.image_size, plan.patch_size) == (image_size, patch_size)


@pytest.mark.parametrize(
    ('images', 'size', 'total'),
    [
        (12, 'tiny', 4),
        (63, 'tiny', 16),
        (64, 'tiny', 32),
        (100_000, 'tiny', 32),
        (5_000, 'small', 128),
        (100, 'small', 32),
        (1_281_167, 'base', 2048),
    ],
)
def test_choose__batch_and_learning_rate(images, size, total):
    assert total_batch(images, size) == total
    plan = choose(photos(images), SERVER, Request(size))
    cae = plan.cae
    assert cae.batch_size * cae.accumulation == total
    assert cae.batches == images // cae.batch_size
    spec = SIZES[size]
    linear = spec.reference_lr * total / spec.reference_batch
    assert cae.lr == pytest.approx(linear)


def test_choose__accumulates_where_memory_is_short():
    few = Machine(8, 64 * GB, (GPU('card', 8 * GB, 7 * GB),), 100 * GB)
    plan = choose(photos(50_000), few, Request('small'))
    assert plan.cae.batch_size == 64
    assert plan.cae.accumulation == 32
    assert plan.memory < 7 * GB
    half = smaller_batch(plan)
    assert half.cae.batch_size * half.cae.accumulation == 2048
    assert half.cae.lr == plan.cae.lr
    assert half.cae.batches == 2 * plan.cae.batches


def test_smaller_batch__ends():
    plan = choose(photos(5_000), CARD, Request('small'))
    while plan.cae.batch_size > 1:
        plan = smaller_batch(plan)
    with pytest.raises(PlanError, match='not even with one image'):
        smaller_batch(plan)


def test_choose__vocabulary_that_images_can_fill():
    codes = [
        choose(photos(n), LAPTOP, Request()).vocab_size for n in (12, 50, 300)
    ]
    assert codes == [64, 64, 128]
    assert choose(photos(5000), CARD, Request('base')).vocab_size == 4096
    dalle = choose(photos(5000), CARD, Request(target='dalle'))
    assert dalle.vocab_size == 8192
    assert dalle.tokenizer is None


def test_choose__workers_and_cache():
    plan = choose(photos(300), LAPTOP, Request())
    assert plan.cache
    assert plan.workers == 0
    large = replace(photos(300), decoded_bytes=10 * GB)
    plan = choose(large, LAPTOP, Request())
    assert not plan.cache
    assert plan.workers == 3  # one core is left
    tight = replace(LAPTOP, shared_memory=64 * 2**20)  # as in a container
    assert choose(large, tight, Request()).workers == 0
    one = replace(LAPTOP, cores=1)
    assert choose(large, one, Request()).workers == 0


@pytest.mark.parametrize(
    ('gpu', 'precision'), [(True, 'bfloat16'), (False, 'float16')]
)
def test_choose__precision(gpu, precision):
    card = GPU('card', 12 * GB, 11 * GB, bfloat16=gpu)
    machine = replace(CARD, gpus=(card,))
    assert choose(photos(5000), machine, Request()).precision == precision
    assert choose(photos(300), machine, Request()).precision == 'float32'


@pytest.mark.parametrize(
    ('folder', 'machine', 'request_', 'words'),
    [
        (photos(3), LAPTOP, Request(), '3 images in photos: at least 8'),
        (
            photos(100, unreadable=0.5, sampled=100, first_unreadable='x.jpg'),
            *(LAPTOP, Request(), '50% of 100 images looked at cannot be read'),
        ),
        (
            photos(5000),
            *(replace(LAPTOP, memory=2 * GB), Request('large')),
            "size 'large' needs about",
        ),
        (
            photos(5000),
            *(replace(CARD, disk=GB // 10), Request()),
            'the disk has 0.1 GB free',
        ),
    ],
)
def test_choose__refuses_in_one_sentence(folder, machine, request_, words):
    with pytest.raises(PlanError) as error:
        choose(folder, machine, request_)
    assert words in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        (dict(), '300 images are few'),
        (dict(duplicates=50), '50 files are copies'),
        (
            dict(unreadable=0.02, first_unreadable='a.jpg'),
            '2.0% of the images looked at cannot be read',
        ),
        (
            dict(subfolders=(('test', 100), ('train', 200))),
            'the subfolders test and train are all trained on',
        ),
        (dict(alpha=1.0), 'transparency is dropped (100%'),
        (dict(deep=0.5), 'more than 8 bits become 8 bits (50%'),
        (dict(short_side=16), 'the images are smaller (16 px)'),
        (dict(others=(('.heic', 90),)), 'are left out: 90 .heic'),
    ],
)
def test_choose__says_what_is_weak(values, words):
    plan = choose(photos(300, **values), LAPTOP, Request())
    assert [note for note in plan.notes if words in note]


def test_choose__unreadable_images_do_not_stop_the_training():
    plan = choose(photos(300, unreadable=0.05), LAPTOP, Request())
    assert plan.max_unreadable == 0.1
    assert choose(photos(300), LAPTOP, Request()).max_unreadable == 0.01


def test_choose__a_good_folder_has_no_note():
    assert choose(photos(50_000), CARD, Request()).notes == ()


def test_set_length__usual_steps_without_a_time():
    plan = set_length(
        measured(choose(photos(300), LAPTOP, Request())), Request()
    )
    assert plan.cae.epochs == 150
    assert plan.tokenizer.epochs == 60
    assert plan.duration == pytest.approx(1350 * 0.1 + 540 * 0.05)
    # and those are what the packaged configs are for
    assert '-150e_' in SIZES['tiny'].cae_config
    assert '-60e_' in SIZES['tiny'].tokenizer_config


@pytest.mark.parametrize(
    ('images', 'seconds'),
    [(12, 60), (12, 7200), (300, 60), (300, 600), (5_000, 600), (5_000, 7200)],
)
def test_set_length__fills_a_time_and_keeps_it(images, seconds):
    request = Request(seconds=seconds)
    plan = measured(choose(photos(images), LAPTOP, request))
    plan = set_length(plan, request)
    assert plan.duration <= seconds
    at_most = plan.cae.epochs == SIZES['tiny'].max_epochs
    assert plan.duration > 0.5 * seconds or at_most
    assert at_most == any('leaves time over' in note for note in plan.notes)
    assert 0 < plan.cae.warmup_epochs < plan.cae.epochs


def test_choose__large_photographs_are_reduced_in_memory():
    huge = replace(
        photos(300, short_side=4000, load_seconds=0.5),
        decoded_bytes=300 * 72_000_000,
    )
    plan = choose(huge, LAPTOP, Request())
    assert plan.cache
    assert plan.cache_side == 136
    assert plan.loading == 150
    request = Request(seconds=600)
    plan = set_length(measured(choose(huge, LAPTOP, request)), request)
    assert 300 < plan.duration <= 600  # both trainings load the images


def test_set_length__no_time_for_an_epoch():
    request = Request(seconds=60)
    plan = measured(choose(photos(100_000), LAPTOP, request))
    with pytest.raises(PlanError, match='two epochs of the tokenizer take'):
        set_length(plan, request)


def test_set_length__says_when_it_is_short():
    request = Request(seconds=60)
    plan = measured(choose(photos(300), LAPTOP, request))
    notes = set_length(plan, request).notes
    assert any('steps are few (1,350 are usual' in note for note in notes)


def test_set_length__says_when_it_takes_days():
    request = Request('base')
    plan = measured(choose(photos(5_000), CARD, request), cae=30)
    notes = set_length(plan, request).notes
    assert any('give a --time' in note for note in notes)


def test_set_length__counts_accumulated_batches():
    few = replace(CARD, gpus=(GPU('card', 8 * GB, 7 * GB),))
    request = Request('small')
    plan = measured(choose(photos(50_000), few, request))
    plan = set_length(plan, request)
    steps = plan.cae.total_batches / plan.cae.accumulation
    assert steps == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize(
    ('text', 'seconds'),
    [('90s', 90), ('20m', 1200), ('1h30m', 5400), ('1.5d', 129_600)],
)
def test_duration__is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize('text', ['', '5', 'soon', '0s', 'h', '2 hours'])
def test_duration__is_refused(text):
    with pytest.raises(ValueError, match=r'write 90s, 20m|could not convert'):
        parse_duration(text)


def test_duration__is_written():
    texts = [duration_text(s) for s in (0.2, 45, 600, 12_000, 7200, 10**6)]
    assert texts == ['1 s', '45 s', '10 min', '3 h 20 min', '2 h', '12 days']


@pytest.mark.parametrize(
    ('final', 'words'),
    [
        (dict(psnr=14.0), 'coarse pictures (14.0 dB'),
        (dict(psnr=21.0), None),
        (dict(psnr=11.0, codes_used=1.0), 'collapsed: it uses 1 of its codes'),
        (dict(psnr=14.0, codes_used=9.0), 'coarse pictures (14.0 dB'),
        (dict(acc=0.16, acc_position=0.15), 'predicts 16% of the tokens'),
        (dict(acc=0.33, acc_position=0.05), None),
        (dict(), None),
    ],
)
def test_verdict__warns_of_what_learned_little(final, words):
    found = verdict(final)
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_sizes__are_those_of_the_option():
    assert tuple(SIZES) == pretrain.SIZES
