# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The study of continued pretraining, and its parts."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / 'tools/dataset_converters'))

import adapt_cell
import adapt_study
from adapt_study import ALL, ARMS, FEW, Cell
from adapt_table import (
    choice_table,
    compare,
    filled,
    results_table,
    tables,
    verdicts_table,
)
from digits import write_digits

from mmcae.cli.planning.adaptation import ADAPTATION

TO_DIGITS = 'emoji to digits'


def names(path):
    return path.read_text().split()


def test_write_lists__drawings_of_an_emoji_stay_together(tmp_path):
    for style in ('google', 'twitter'):
        for label in 'ab':
            for split, count in (('train', 20), ('test', 3)):
                folder = tmp_path / split / label
                folder.mkdir(parents=True, exist_ok=True)
                for i in range(count):
                    (folder / f'{label}{i}_{style}.png').touch()
    adapt_cell.write_lists(tmp_path, [0, 1], few=10)
    train, fit, val = (
        set(names(tmp_path / f'{n}.txt')) for n in ('train', 'fit', 'val')
    )
    assert (len(fit), len(val)) == (64, 16)
    assert fit | val == train
    assert not fit & val
    codes = [{Path(n).stem.split('_')[0] for n in part} for part in (fit, val)]
    assert not codes[0] & codes[1]
    few = [names(tmp_path / f'fit_10_seed{seed}.txt') for seed in (0, 1)]
    assert set(few[0]) <= fit
    assert len(few[0]) == 10
    assert few[0] != few[1]
    assert len(names(tmp_path / 'test.txt')) == 12


def test_cells__arms_differ_in_start_and_rate_only(tmp_path):
    cells = list(adapt_study.test_cells([0, 1, 2]))
    assert len(cells) == len({cell.name for cell in cells}) == 3 * 2 * 2 * 4
    made = {
        cell.arm: adapt_study.options(cell, tmp_path, cell.epochs)
        for cell in cells
        if (cell.direction, cell.images, cell.seed) == (TO_DIGITS, ALL, 1)
    }
    assert list(made) == list(ARMS)
    scratch, adapted = made['scratch'], made['adapted']
    assert scratch.pop('load_from') is None
    factor = adapted.pop('lr') / scratch.pop('lr')
    assert factor == pytest.approx(ADAPTATION.peak_factor)
    assert adapted.pop('layer_decay') == ADAPTATION.layer_decay
    assert scratch.pop('layer_decay') == 1.0
    assert scratch == adapted
    assert scratch['max_epochs'] == 20
    assert scratch['randomness.seed'] == 1


def test_choice_cells__never_see_the_test_images():
    for cell in adapt_study.choice_cells():
        train, test = cell.lists()
        assert train in ('fit', 'fit_300_seed0')
        assert test == 'val'


def row(arm, seed, knn, attentive, images=ALL, **more):
    return dict(
        direction=TO_DIGITS,
        images=images,
        arm=arm,
        seed=seed,
        knn=knn,
        attentive=attentive,
        **more,
    )


def test_tables__means_ranges_and_what_is_above_the_spread():
    cells = [
        row('scratch', 0, 50.0, 80.0, images_seen=640),
        row('scratch', 1, 54.0, 81.0, images_seen=640),
        row('adapted', 0, 60.0, 81.0, images_seen=640),
        row('adapted', 1, 62.0, 81.4, images_seen=640),
    ]
    assert compare(cells[2:], cells[:2], 'knn') == (9.0, 4.0)
    lines = results_table(cells).splitlines()
    assert lines[2] == (
        '| emoji to digits | all images | 640 | from scratch | 2 | '
        '52.0 [50.0-54.0] | 80.5 [80.0-81.0] |'
    )
    (line,) = verdicts_table(cells).splitlines()[2:]
    assert line == (
        '| emoji to digits | all images | adapted above from scratch | '
        'yes (+9.0, spread 4.0) | no (+0.7, spread 1.0) |'
    )


def test_choice_table__mean_over_all_columns():
    cells = [
        row('adapted', 0, 50.0, 80.0, peak=0.5, decay=1.0),
        row('adapted', 0, 60.0, 90.0, FEW, peak=0.5, decay=1.0),
    ]
    assert choice_table(cells).splitlines()[2] == (
        '| adapted | 0.5 | 1 | 50.0 | 80.0 | 60.0 | 90.0 | 70.0 |'
    )


def test_attentive_accuracy__learns_what_a_token_says():
    """The class is in one of four tokens; the mean over tokens hides it."""
    torch.manual_seed(0)
    labels = torch.arange(200) % 4
    tokens = torch.randn(200, 5, 16)
    tokens[:, 3, :4] += 8 * torch.eye(4)[labels]
    sets = [(tokens[:150], labels[:150]), (tokens[150:], labels[150:])]
    assert adapt_cell.attentive_accuracy(sets, 2, 100, seed=0) > 0.9


def test_evaluate__refuses_sets_with_other_classes():
    one = (torch.randn(6, 3, 8), torch.tensor([0, 1, 2] * 2))
    other = (torch.randn(4, 3, 8), torch.tensor([0, 1] * 2))
    with pytest.raises(ValueError, match='3 classes to fit on, 2 to test'):
        adapt_cell.evaluate([one, other], None, 1, 1)


def test_study__small_form_measures_each_cell_once(tmp_path, capfd):
    write_digits(tmp_path / 'digits', class_folders=True)
    adapt_cell.write_lists(tmp_path / 'digits', [0])
    (tmp_path / 'emoji/test').mkdir(parents=True)
    args = adapt_study.parse_args(
        f'--work-dir {tmp_path} --epochs 1 --probe-steps 5'.split()
    )
    study = adapt_study.Study(args)
    cells = [Cell(TO_DIGITS, FEW, arm, 0) for arm in ('start', 'adapted')]
    found = [study.measure(cell) for cell in cells]
    start, adapted = found
    assert 'images_seen' not in start
    assert adapted['images_seen'] == 9 * 32
    assert all(20 < item['knn'] < 95 for item in found)
    assert adapted['knn'] != start['knn']
    log = tmp_path / 'cells' / cells[1].name / 'console.log'
    assert 'Loaded into CAE' in log.read_text()
    log.unlink()
    assert study.measure(cells[1]) == adapted  # as it is on the disk
    assert not log.exists()
    assert capfd.readouterr().out.count('10-NN') == 2


def test_main__prints_a_record(tmp_path, capsys):
    path = tmp_path / 'record.json'
    machine = dict(processor='A', packages=dict(torch='2.x'))
    cells = [row('adapted', 0, 60.0, 81.0, images_seen=640)]
    path.write_text(json.dumps(dict(machine=machine, test=cells)))
    adapt_study.main(['--table', '--record', str(path)])
    printed = capsys.readouterr().out
    assert '| 640 | adapted | 1 | 60.0 | 81.0 |' in printed
    assert printed.endswith('A, one thread; torch 2.x.\n')


def test_page__shows_the_tables_of_the_record():
    record = json.loads(adapt_study.RECORD.read_text())
    page = adapt_study.PAGE.read_text()
    parts = tables(record)
    assert page.count('<!-- adapt: ') == len(parts)
    assert filled(page, parts) == page
    assert parts['results'] in page


def test_recipe__is_one_of_the_settings_that_were_compared():
    recipe = (ADAPTATION.peak_factor, ADAPTATION.layer_decay)
    assert recipe in adapt_study.SETTINGS
