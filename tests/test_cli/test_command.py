# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The command ``mmcae``: it starts at once, and mistakes are one sentence."""

import shutil
import subprocess
import sys
import time

import pytest
from mmengine.config import Config

import mmcae
from mmcae.cli import parser as parser_module
from mmcae.cli.completion import completion_script
from mmcae.cli.copy_config import with_package_bases
from mmcae.cli.doctor import without_home
from mmcae.cli.parser import VERBS, build_parser, verb_module
from mmcae.config.search_path import list_configs, resource_root
from mmcae_command import main

DIGITS = 'cae_tiny-p8_1xb32-coslr-80e_digits-32px'


def fresh(code, *arguments):
    """Run code in a fresh interpreter that can import mmcae_command."""
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        capture_output=True,
        text=True,
    )


def status_of(*arguments):
    """The exit status of the command, run in this process."""
    try:
        return main(list(map(str, arguments)))
    except SystemExit as end:
        return end.code


HELP_TEXTS = """
import contextlib, io, sys
import mmcae_command
from mmcae.cli.parser import VERBS
for arguments in [['--help'], ['--version']] + [[v, '--help'] for v in VERBS]:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            mmcae_command.main(arguments)
        except SystemExit as end:
            assert not end.code, arguments
    assert text.getvalue().strip(), arguments
heavy = {'torch', 'numpy', 'mmengine', 'mmpretrain'} & set(sys.modules)
assert not heavy, heavy
""".replace('from mmcae.cli', 'mmcae_command.defer_package()\nfrom mmcae.cli')


def test_help__imports_nothing_heavy():
    result = fresh(HELP_TEXTS)
    assert result.returncode == 0, result.stderr


def test_help__comes_within_half_a_second():
    code = 'import mmcae_command; mmcae_command.main(["train", "--help"])'
    seconds = []
    for _ in range(5):  # on a busy machine, one of them has luck
        start = time.perf_counter()
        assert '--resume' in fresh(code).stdout
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5, seconds


def test_verb__runs_after_the_package_has_started():
    code = (
        'import sys, mmcae_command\n'
        'try: mmcae_command.main(["knn", "no.npz", "no.npz"])\n'
        'finally: print(sys.modules["mmcae"].__version__)\n'
    )
    result = fresh(code)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith('error: ')
    assert 'no.npz' in result.stderr
    assert 'Traceback' not in result.stderr
    assert result.stdout.splitlines()[-1] == mmcae.__version__


def test_verbs__keep_the_convention(subtests):
    for verb in VERBS:
        with subtests.test(verb):
            module = verb_module(verb)
            assert '\n' not in module.HELP
            assert callable(module.add_arguments)
            assert callable(module.main)
            assert module.__doc__


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        (['trian'], 2, "there is no verb 'trian'; did you mean 'train'?"),
        (['train'], 2, 'the following arguments are required: config'),
        (['list', 'no-such-text'], 1, 'no config has no-such-text'),
        (['show', 'cae_tinny'], 1, "there is no config file 'cae_tinny'"),
        (
            ['test', DIGITS, 'x.pth', '--out', 'x.json'],
            2,
            'predictions can only be written as .pkl',
        ),
        (
            ['extract', DIGITS, 'random', '.', 'x.txt'],
            2,
            'x.txt must end in .npz',
        ),
        (['train', DIGITS, '--cfg-options', 'x'], 2, "'x' is not key=value"),
        (['train', 'toi.py'], 1, "there is no config file 'toi.py'"),
    ],
)
def test_mistake__is_one_sentence(arguments, status, words, capsys):
    assert status_of(*arguments) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('error: ')
    assert words in lines[0]


def test_no_verb__prints_the_help(capsys):
    assert status_of() == 2
    assert 'Exit status' in capsys.readouterr().out


def test_interrupt__has_the_status_of_the_signal(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(verb_module('knn'), 'main', interrupted)
    assert status_of('knn', 'a', 'b') == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_start__a_failed_version_check_is_an_error(capsys):
    def start():
        raise ImportError('mmcae cannot work with torch 1.0')

    arguments = ['knn', 'a', 'b']
    assert parser_module.run_command(arguments, start) == 1
    assert capsys.readouterr().err == (
        'error: mmcae cannot work with torch 1.0\n'
    )


def test_list__names_all_configs(capsys):
    assert status_of('list') == 0
    printed = capsys.readouterr().out
    assert all(f'  {path.stem}\n' in printed for path in list_configs())
    assert status_of('list', 'tokenizer', 'emoji') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ['tokenizer/', '  dvae_f8-k128_1xb32-8e_emoji-48px']
    assert len(lines) == 3


def test_show__prints_the_file_or_the_whole(capsys):
    assert status_of('show', DIGITS) == 0
    printed = capsys.readouterr().out
    assert '_base_ = [' in printed
    assert 'vocab_size=64' not in printed
    assert status_of('show', DIGITS, '--whole') == 0
    assert 'vocab_size=64' in capsys.readouterr().out


def test_copy__means_the_same_in_another_folder(tmp_path, capsys, subtests):
    names = [
        DIGITS,  # a list of base files
        'dvae_f8-k128_1xb32-8e_emoji-48px',  # one, which has a base
        'mask-rcnn_tiny-p8_cae-pre_1xb8-12e_tiny-coco-96px',
    ]
    for name in names:
        with subtests.test(name):
            assert status_of('copy', name, tmp_path / 'mine') == 0
            copy = tmp_path / 'mine' / f'{name}.py'
            assert str(copy) in capsys.readouterr().out
            (source,) = (p for p in list_configs() if p.stem == name)
            theirs = without_scopes(Config.fromfile(copy).to_dict())
            assert theirs == without_scopes(Config.fromfile(source).to_dict())


def without_scopes(value):
    """mmengine adds a scope to the dicts of another package's base."""
    if isinstance(value, dict):
        return {
            key: without_scopes(item)
            for key, item in value.items()
            if key != '_scope_'
        }
    if isinstance(value, list | tuple):
        return [without_scopes(item) for item in value]
    return value


def test_copy__whole_has_no_base(tmp_path):
    assert status_of('copy', DIGITS, tmp_path, '--whole') == 0
    text = (tmp_path / f'{DIGITS}.py').read_text()
    assert '_base_' not in text
    assert Config.fromfile(tmp_path / f'{DIGITS}.py').model.type == 'mmcae.CAE'


def test_copy__overwrites_nothing(tmp_path, capsys):
    assert status_of('copy', DIGITS, tmp_path) == 0
    (tmp_path / f'{DIGITS}.py').write_text('mine = 1\n')
    assert status_of('copy', DIGITS, tmp_path) == 1
    assert 'is there already' in capsys.readouterr().err
    assert (tmp_path / f'{DIGITS}.py').read_text() == 'mine = 1\n'


def test_copy__keeps_other_packages_and_files_outside(tmp_path):
    configs = resource_root() / 'configs'
    path = tmp_path / 'x.py'
    path.write_text("_base_ = ['mmpretrain::a.py', './b.py']\nx = 1\n")
    text = with_package_bases(path, configs)
    assert "'mmpretrain::a.py'" in text
    assert repr(str(tmp_path / 'b.py')) in text
    assert text.endswith('x = 1\n')


@pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')
@pytest.mark.parametrize(
    ('words', 'found'),
    [
        (['kn'], ['knn']),
        (['train', '--resu'], ['--resume']),
        (['train', '--launcher', 'sl'], ['slurm']),
        (['show', 'dvae_f8-k64'], ['dvae_f8-k64_1xb32-13e_digits-32px']),
        (['completion', 'z'], ['zsh']),
    ],
)
def test_completion__in_bash(words, found):
    names = [path.stem for path in list_configs()]
    script = completion_script(build_parser(), names)
    quoted = ' '.join(map(repr, ['mmcae', *words]))
    script += (
        f'COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _mmcae; '
        'echo "${COMPREPLY[@]}"\n'
    )
    result = subprocess.run(
        ['bash', '-c', script], capture_output=True, text=True
    )
    assert result.stdout.split() == found, result.stderr


def test_doctor__describes_and_tests(capsys):
    assert status_of('doctor') == 0
    printed = capsys.readouterr().out
    for words in ('onedl-mmengine', 'usable cores', 'free disk', 'All good'):
        assert words in printed
    assert 'Initialized by' not in printed


def test_doctor__a_failed_test_is_named(capsys, monkeypatch):
    from mmcae.cli import doctor

    def broken():
        raise OSError('no space')

    monkeypatch.setattr(doctor, 'TESTS', {'a test': broken})
    assert status_of('doctor') == 1
    printed = capsys.readouterr().out
    assert 'FAILED: OSError: no space' in printed
    assert '1 of 1 tests failed' in printed


def test_doctor__hides_the_home_folder(monkeypatch):
    monkeypatch.setenv('HOME', '/home/mei')
    assert without_home('in /home/mei/mmcae') == 'in ~/mmcae'
