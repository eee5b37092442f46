# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The walk in docs/transfer.md: from images to a segmentor and a detector."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from helpers import toy_project
from helpers.tiny_checkpoint import write_checkpoints
from mmengine.registry import DefaultScope
from PIL import Image

from mmcae_command import main

pytest.importorskip('mmseg')
pytest.importorskip('mmdet')

ROOT = Path(__file__).resolve().parents[2]
WALK = re.compile(
    r'<!-- walk -->\n```bash\n(.*?)```\n<!-- end of walk -->', re.DOTALL
)
ENCODER = 'work_dirs/own/cae/epoch_150.pth'


def documented() -> list[list[str]]:
    """The words of each command of the walk."""
    text = (ROOT / 'docs' / 'transfer.md').read_text('utf-8')
    blocks = WALK.findall(text)
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


#: The shorter trainings of the test, by the config.
SHORT = {
    'upernet': ['max_iters=2', 'warmup_iters=1', 'batch_size=2'],
    'mask-rcnn': ['max_epochs=1', 'warmup_iters=1', 'batch_size=2'],
}
#: Where the short trainings leave what the long ones leave elsewhere.
MADE = {'iter_1000.pth': 'iter_2.pth', 'epoch_24.pth': 'epoch_1.pth'}


def run(words: list[str], folder, monkeypatch) -> None:
    """Run a command of the walk inside this process."""
    if words[0] == 'python':
        arguments = [
            re.sub('|'.join(MADE), lambda m: MADE[m[0]], word)
            for word in words[2:]
        ]
        if 'dataset_converters' in words[1]:
            arguments += ['--train', '4', '--val', '2']
        script = ROOT / words[1]
        assert (
            toy_project.run_script(script, arguments, folder, monkeypatch) == 0
        )
        return
    DefaultScope._instance_dict.clear()
    monkeypatch.chdir(folder)
    method = words[2].partition('_')[0]
    assert main([*words[1:], *SHORT[method]]) in (0, None)


@pytest.mark.slow
def test_walk__every_command_works(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    commands = documented()
    (pretrain,) = (words for words in commands if words[1] == 'pretrain')
    assert pretrain[-1] == 'work_dirs/own'
    # Pretraining has tests of its own; another encoder stands in for it.
    encoder = tmp_path / ENCODER
    encoder.parent.mkdir(parents=True)
    write_checkpoints(tmp_path).rename(encoder)
    done = [words for words in commands if words is not pretrain]
    assert len(done) == 6
    for words in done:
        run(words, tmp_path, monkeypatch)
    for kind in ('segmented', 'detected'):
        (picture,) = (tmp_path / 'work_dirs/own' / kind / 'vis').glob('*.jpg')
        with Image.open(picture) as image:
            assert image.size == (128, 96)


def test_walk__wrong_masks_end_in_one_sentence(tmp_path, monkeypatch, capfd):
    """Nothing is trained, and the file is named."""
    for number in range(2):
        for kind, color in (('images', 'red'), ('masks', 9)):
            folder = tmp_path / 'own' / kind
            folder.mkdir(parents=True, exist_ok=True)
            mode = 'RGB' if kind == 'images' else 'L'
            Image.new(mode, (32, 32), color).save(folder / f'{number}.png')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    words = [
        *('train', 'upernet_tiny-p8_cae-pre_1xb8-1k_own-masks'),
        *('--cfg-options', 'data_root=own', 'batch_size=1'),
        'checkpoint=mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px',
    ]
    with pytest.raises(SystemExit) as end:
        sys.exit(main(words))
    assert end.value.code == 2
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith('error: ')
    assert re.search(r'own/masks/\d\.png has the value 9', said)
    assert not list(tmp_path.rglob('*.pth'))
