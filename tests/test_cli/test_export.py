# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The verb ``export``."""

import argparse

import pytest
from helpers.trained import write_checkpoint

from mmcae.cli import export as verb


def run(*arguments):
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.main(parser.parse_args([str(a) for a in arguments]))


def test_export__prints_what_was_written_and_the_difference(tmp_path, capsys):
    path, _ = write_checkpoint('pretrain', tmp_path)
    out = tmp_path / 'model.pt'
    options = ['--part', 'dense', '--out-indices', '0', '--fixed-size']
    assert run(path, '--to', 'torchscript', '--out', out, *options) == 0
    printed = capsys.readouterr().out
    assert f'{out}: torchscript, dense (block_0)' in printed
    assert 'block_0: largest difference' in printed
    assert '1x3x64x64, 3x3x64x64\n' in printed
    assert out.is_file()


def test_export__options_reach_the_function(tmp_path, capsys):
    path, _ = write_checkpoint('pretrain', tmp_path)
    out = tmp_path / 'model.pth'
    options = ['--pool', 'cls', '--no-compare', '--num-heads', '4']
    assert run(path, '--to', 'mmpretrain', '--out', out, *options) == 0
    printed = capsys.readouterr().out
    assert "'out_type': 'cls_token'" in printed
    assert 'not compared with the original' in printed
    with pytest.raises(ValueError, match='no file is kept'):
        run(path, '--to', 'mmpretrain', '--out', out, '--tolerance', '-1')
    with pytest.raises(ValueError, match='holds float32'):
        run(path, '--to', 'official', '--out', out, '--precision', 'int8')
