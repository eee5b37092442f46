# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From a session to the next session and the parts of the page that change."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mmcae.app import markup
from mmcae.app.actions import PARTS, Actions, guarded
from mmcae.app.examples import EMOJI
from mmcae.app.explorer import Explorer, Neighbor

CHECKER = '100110' * 6


def titles(markup_text):
    return re.findall(r'<b>([^<]*)</b>', markup_text)


@pytest.fixture
def session(actions):
    return actions.start()[0]


def test_start__shows_everything(actions):
    session, updates = actions.start()
    assert set(updates) == set(PARTS) - {'neighbors'}
    assert updates['notice'] == ''
    assert session.path == actions.examples[0].path
    assert session.mask.sum() == 18
    assert titles(updates['prediction']) == [
        *('18 of 36',),
        *titles(updates['prediction'])[1:5],
        *('Visible', 'Predicted', 'Pasted back', 'Best possible'),
        *('Token right?', 'Alignment'),
    ]
    assert 'token accuracy' in updates['prediction']
    assert 'mean cosine' in updates['prediction']
    scene = json.loads(updates['mask_canvas'])
    assert scene['mask'] == markup.mask_text(session.mask)
    assert (scene['rows'], scene['columns']) == (6, 6)
    assert json.loads(updates['attention_canvas'])['patch'] == [3, 3]


def test_choose__keeps_the_mask(actions, session):
    changed, updates = actions.choose(session, str(EMOJI / 'cat.png'))
    np.testing.assert_array_equal(changed.mask, session.mask)
    assert changed.path.endswith('cat.png')
    assert {'mask_canvas', 'prediction', 'attention'} <= set(updates)
    # The user may be painting; the canvas keeps its mask.
    assert json.loads(updates['mask_canvas'])['mask'] == ''


def test_paint__predicts_and_leaves_the_canvas_to_the_user(actions, session):
    changed, updates = actions.paint(session, CHECKER)
    assert markup.mask_text(changed.mask) == CHECKER
    assert set(updates) == {'notice', 'prediction'}
    assert titles(updates['prediction'])[0] == '18 of 36'
    # The former session is another user's view of the past.
    assert markup.mask_text(session.mask) != CHECKER


@pytest.mark.parametrize('text', ['', '1' * 35, '2' * 36, '1' * 37])
def test_paint__refuses_what_is_no_mask(actions, session, text):
    changed, updates = guarded(actions.paint, session, text)
    assert changed is session
    assert 'The mask does not fit the 6 x 6 patches' in updates['notice']


def test_paint__nothing_is_a_sentence(actions, session):
    changed, updates = guarded(actions.paint, session, '0' * 36)
    assert changed is session
    assert 'masks none of the 36 patches' in updates['notice']
    assert 'role="alert"' in updates['notice']


def test_draw__is_the_mask_of_ratio_seed_and_kind(actions, session):
    changed, updates = actions.draw(session, 0.25, 7, 'random')
    expected = actions.explorer.draw_mask(0.25, 7, 'random')
    np.testing.assert_array_equal(changed.mask, expected)
    assert expected.sum() == 9
    scene = json.loads(updates['mask_canvas'])
    assert scene['mask'] == markup.mask_text(expected)


@pytest.mark.parametrize('seed', [None, -1, 0.5])
def test_draw__refuses_a_seed(actions, session, seed):
    _, updates = guarded(actions.draw, session, 0.5, seed, 'block')
    assert 'The seed must be a whole number' in updates['notice']


def test_look__frames_the_patch(actions, session):
    changed, updates = actions.look(session, [1, 5])
    assert changed.patch == (1, 5)
    assert json.loads(updates['attention_canvas'])['patch'] == [1, 5]
    changed, updates = actions.look(changed, None)
    assert json.loads(updates['attention_canvas'])['patch'] is None
    _, updates = guarded(actions.look, session, [6, 0])
    assert 'There is no patch 6,0' in updates['notice']


def test_choose_attention__shows_one_head_of_a_block(actions, session):
    changed, updates = actions.choose_attention(session, 1, 'head 2')
    assert titles(updates['attention']) == ['head 2']
    everything = actions.choose_attention(changed, -1, 'all heads')[1]
    assert titles(everything['attention'])[1:4] == [
        *('head 1', 'head 2', 'head 3')
    ]


def test_example__is_chosen_by_its_number(actions, session):
    assert actions.example(session, 2)[0].path == actions.examples[2].path
    _, updates = guarded(actions.example, session, 99)
    assert 'There is no example 99' in updates['notice']


def test_malformed_upload__leaves_the_session(actions, session, tmp_path):
    (tmp_path / 'x.png').write_text('no picture')
    changed, updates = guarded(
        actions.choose, session, str(tmp_path / 'x.png')
    )
    assert changed is session
    assert set(updates) == {'notice'}
    assert 'cannot be read as a picture' in updates['notice']


def test_bug__is_not_blamed_on_the_user(session, caplog):
    def broken(session):
        raise RuntimeError('secret /path')

    changed, updates = guarded(broken, session)
    assert changed is session
    assert 'an error of the program (RuntimeError)' in updates['notice']
    assert 'secret' not in updates['notice']
    assert 'secret /path' in caplog.text


def test_no_decoder__still_shows_the_alignment(loaded, actions):
    limited = Explorer(replace(loaded, decoder=None, notes=['no decoder']))
    _, updates = Actions(limited, actions.examples).start()
    shown = titles(updates['prediction'])
    assert 'Alignment' in shown
    assert 'Token right?' in shown
    assert not {'Predicted', 'Pasted back', 'Best possible'} & set(shown)


def test_names_of_files__cannot_become_markup():
    found = [Neighbor('a/<script>.png', 0.5, np.zeros((8, 8, 3), np.uint8))]
    assert '<script>' not in markup.neighbors_html(found)
    found = [Neighbor('<script>.png', 0.5, None)]
    assert '<script>' not in markup.neighbors_html(found)
    assert '<b>' not in markup.notice_html('<b>x</b>')
