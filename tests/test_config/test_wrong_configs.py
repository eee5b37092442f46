# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Every mistake of the table ends before the training, in one line."""

import pytest
from helpers.wrong_configs import CASES, Case, judge, write_project

QUICK = [case for case in CASES if case.origin != 'own']
OTHERS = [case for case in CASES if case.origin == 'own']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('wrong') / 'project'
    write_project(path)
    return path


def judge_all(cases, folder, subtests):
    for case in cases:
        with subtests.test(case.name):
            verdict = judge(case, folder)
            assert verdict.clear, verdict.text


def test_judge__lets_the_right_config_begin(folder):
    verdict = judge(Case({}, ()), folder)
    assert verdict.text == 'the training begins'


def test_cases__have_different_names():
    names = [case.name for case in CASES]
    assert len({*names}) == len(names)


def test_wrong_configs__of_the_studies(folder, subtests):
    judge_all(QUICK, folder, subtests)


@pytest.mark.slow
def test_wrong_configs__of_our_own(folder, subtests):
    judge_all(OTHERS, folder, subtests)
