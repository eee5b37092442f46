# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Sheets, maps and pages: what is drawn, and where."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from mmcae.visualization import (
    HeatMap,
    Point,
    attention_panels,
    contact_sheet,
    embedding_figure,
    embedding_page,
    neighbor_sheet,
    pair_sheet,
    render_map,
    sample_panels,
    to_png,
)
from mmcae.visualization.attention import frame_patch

RNG = np.random.default_rng(0)
IMAGE = RNG.random((8, 12, 3))


def test_render_map__colors_numbers_and_shows_the_picture_elsewhere():
    values = np.array([[0.0, np.nan, 1.0]])
    drawn = render_map(HeatMap(values, IMAGE, colors='gray'))
    assert drawn.shape == IMAGE.shape
    assert (drawn[:, :4] == 0).all()
    assert (drawn[:, 8:] == 1).all()
    gray = IMAGE[:, 4:8].mean(-1, keepdims=True)
    np.testing.assert_allclose(drawn[:, 4:8], 0.65 + 0.3 * gray.repeat(3, -1))
    half = render_map(HeatMap(values, IMAGE, colors='gray', opacity=0.5))
    gray = IMAGE[:, :4].mean(-1, keepdims=True)
    np.testing.assert_allclose(half[:, :4], 0.5 * gray.repeat(3, -1))
    bare = render_map(HeatMap(values, low=-1, high=3, colors='gray'))
    assert bare[0, 0, 0] == pytest.approx(0.25, abs=0.01)
    assert bare.shape == (1, 3, 3)


def test_contact_sheet__has_a_column_for_each_title():
    rows = [{'a': IMAGE, 'b': 1 - IMAGE}, {'b': IMAGE}]
    figure = contact_sheet(rows, ['first\nline', 'second'], ['no decoder'])
    assert [axis.get_title() for axis in figure.axes] == ['a', 'b', '']
    boxes = [axis.get_position() for axis in figure.axes]
    assert boxes[1].x0 == boxes[2].x0 > boxes[0].x1
    assert boxes[2].y1 < boxes[0].y0
    width, height = figure.get_size_inches()
    ratio = boxes[0].width * width / (boxes[0].height * height)
    assert ratio == pytest.approx(12 / 8)
    texts = [text.get_text() for text in figure.texts]
    assert texts == ['first\nline', 'second', 'Note: no decoder.']
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), IMAGE)
    with pytest.raises(ValueError, match='at least one row'):
        contact_sheet([])


def test_contact_sheet__nothing_is_cut_off():
    heat = HeatMap(np.eye(4), IMAGE, label='cosine')
    long = 'a_very_long_name_of_a_file_that_somebody_gave_it.jpeg'
    rows = [dict(image=IMAGE, map=heat)] * 3
    figure = contact_sheet(rows, [long] * 3, ['a note ' * 40])
    picture = Image.open(io.BytesIO(to_png(figure))).convert('L')
    pixels = np.asarray(picture)
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def test_attention_panels__frame_the_patch_and_scale_each_map():
    maps = {'one': np.full((4, 6), 0.1), 'two': np.eye(4, 6)}
    panels = attention_panels(IMAGE, maps, (1, 2))
    assert list(panels) == ['image', 'one', 'two']
    assert panels['one'].high == 0.1
    assert panels['two'].high == 1
    enlarged = IMAGE.repeat(12, 0).repeat(12, 1)
    changed = (panels['image'] != enlarged).any(-1)
    assert changed[24:48, 48:72].sum() == changed.sum() == 24**2 - 18**2
    framed = frame_patch(np.zeros((64, 64, 3)), (2, 2), (1, 0))
    assert framed[32, 0, 1] == framed[63, 31, 1] == framed[35, 3, 1] == 1
    assert framed[36:60, 4:28].max() == framed[:32].max() == 0


def test_pair_sheet__draws_the_colors_below_the_images():
    colors = np.full((2, 3, 3), np.nan)
    colors[0, 0] = 1, 0, 0
    figure = pair_sheet([IMAGE] * 3, [colors] * 3, ['a', 'a', 'b'], columns=2)
    assert len(figure.axes) == 6
    drawn = figure.axes[2].images[0].get_array()
    assert drawn[0, 0].tolist() == [1, 0, 0]
    assert (drawn[4:, 4:].std(-1) < 1e-9).all()
    one = pair_sheet([IMAGE] * 2, [colors] * 2, ['a', 'a'])
    assert [a.get_title().strip() for a in one.axes[:2]] == ['a', 'a']
    with pytest.raises(ValueError, match='got 0'):
        pair_sheet([IMAGE], [colors], columns=0)


def test_neighbor_sheet__writes_the_cosines():
    figure = neighbor_sheet([(IMAGE, [(IMAGE, 0.9), (IMAGE, 0.5)])] * 2)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ['query', '0.900', '0.500'] * 2


def test_sample_panels__show_views_and_mask():
    mask = np.eye(2, dtype=bool)
    panels = sample_panels([IMAGE, IMAGE[:4]], mask, 'epoch 1')
    assert list(panels) == [
        'epoch 1',
        'epoch 1: visible',
        'epoch 1: tokenizer',
    ]
    seen = panels['epoch 1: visible']
    assert (seen[:4, :6] == 0.55).all()
    np.testing.assert_array_equal(seen[4:, :6], IMAGE[4:, :6])
    assert list(sample_panels([IMAGE], None, 'x')) == ['x']


def points():
    picture = (IMAGE * 255).astype(np.uint8)
    return [
        Point(picture, (0.0, 1.0), '</script><b>', 'cats & dogs'),
        Point(picture, (1.0, 0.25), 'b.png', 'birds'),
    ]


def test_embedding_page__contains_everything_it_needs():
    page = embedding_page(points(), 'Two <images>', 'a note')
    assert '<title>Two &lt;images&gt;</title>' in page
    assert page.count('</script>') == 1
    items = json.loads(re.search(r'items = (\[.*?\]), groups', page)[1])
    assert [(i['x'], i['y'], i['group']) for i in items] == [
        (0, 0, 1),
        (1, 0.75, 0),
    ]
    assert items[0]['label'] == '</script><b>'
    assert all(i['data'].startswith('data:image/jpeg;base64') for i in items)
    groups = json.loads(re.search(r'groups = (\[.*?\]);', page)[1])
    assert [group['name'] for group in groups] == ['birds', 'cats & dogs']
    assert 'http' not in page.replace('http://www.w3.org/2000/svg', '')
    assert '__' not in page


def test_embedding_figure__has_a_thumbnail_for_each_point():
    figure = embedding_figure(points(), 'title')
    (axis,) = figure.axes
    assert [tuple(a.xy) for a in axis.artists] == [(0, 1), (1, 0.25)]
    assert len(axis.get_legend().get_texts()) == 2
    single = [Point(p.picture, p.position) for p in points()]
    assert embedding_figure(single).axes[0].get_legend() is None
