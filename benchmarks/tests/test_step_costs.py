# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A step has no more operations and bytes than recorded."""

import json
import sys

import lanes
import pytest
from speed_tools import TOOLS  # noqa: F401  (makes the tools importable)

import step_costs  # isort: skip


@pytest.fixture(scope='module')
def costs():
    return step_costs.measure_costs()


def test_record__has_every_tested_torch():
    recorded = json.loads(step_costs.RECORD.read_text())
    assert len(lanes.tested_torches()) > 1
    missing = lanes.tested_torches() - set(recorded)
    assert not missing, (
        f'no step costs of torch {missing}: run `python '
        'benchmarks/step_costs.py --update` in an environment with it'
    )


def test_costs__have_not_grown(costs):
    recorded = json.loads(step_costs.RECORD.read_text())
    version = step_costs.torch_version()
    if version not in recorded:  # a torch without a lane, see above
        pytest.skip(f'no record of torch {version}')
    growth = step_costs.find_growth(recorded[version], costs)
    assert not growth, (
        'the step costs more than recorded; if this is intended, run '
        '`python benchmarks/step_costs.py --update` with each torch '
        'that is tested:\n' + '\n'.join(growth)
    )


def test_costs__are_those_of_the_model_in_the_paper(costs):
    # Twice the multiply-adds: 17.2 G in the encoder, 6.7 G in the regressor,
    # 5.7 G in the decoder, 1.2 G in the head (formulas: test_complexity.py).
    flops = costs['base forward of an image, fp32']['flops']
    assert flops == pytest.approx(48.4e9, rel=0.01)
    halves = [
        costs[f'base forward of an image, {p}']['kept']
        for p in ('bf16', 'fp32')
    ]
    assert 0.4 < halves[0] / halves[1] < 0.75


def test_main__updates_and_compares(costs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step_costs, 'measure_costs', lambda: costs)
    record = tmp_path / 'costs.json'

    def run(*options):
        argv = ['step_costs.py', '--record', str(record), *options]
        monkeypatch.setattr(sys, 'argv', argv)
        step_costs.main()
        return capsys.readouterr().out

    with pytest.raises(SystemExit, match='no record of torch'):
        run()
    run('--update')
    assert 'nothing has grown' in run()
    version = step_costs.torch_version()
    less = json.loads(record.read_text())
    less[version]['tokenizer']['flops'] -= 1
    record.write_text(json.dumps(dict(less, other={})))
    with pytest.raises(SystemExit, match='tokenizer: flops'):
        run()
    run('--update')  # keeps the records of other versions
    assert set(json.loads(record.read_text())) == {version, 'other'}
