# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""DALL-E's pickles are read, and nothing in them is executed."""

import io
import itertools
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.corpus.code import Call, opcode_payloads, payloads
from helpers.corpus.zip_writer import archive, records
from helpers.scripts import run_as_main
from safetensors.torch import load_file, save_file

from mmcae.checkpoint.dalle_pickle import read_module_pickle
from mmcae.checkpoint.errors import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.models import DALLEDecoder, DALLEEncoder

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools' / 'model_converters' / 'dalle_to_mmcae.py'
RECORDING = ROOT / 'tests' / 'data' / 'dalle_tiny.safetensors'

# A package with the module paths and class names of OpenAI's. Its classes are
# empty, and `fill` adds the tensors.
FAKE_PACKAGE = {
    '__init__.py': '',
    'utils.py': """
from torch import nn

class Conv2d(nn.Module):
    def __init__(self, w, b):
        super().__init__()
        self.n_in, self.n_out, self.kw = w.shape[1], w.shape[0], w.shape[2]
        self.use_float16 = True
        self.w, self.b = nn.Parameter(w), nn.Parameter(b)
""",
    'encoder.py': """
import torch
from torch import nn

class EncoderBlock(nn.Module):
    post_gain = 0.5

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.group_count, self.n_hid = 4, 8
        self.device = torch.device('cpu')
        self.requires_grad = False
""",
    'decoder.py': """
from torch import nn

class DecoderBlock(nn.Module):
    pass

class Decoder(nn.Module):
    pass
""",
}
MAKE_FILES = """
import sys
import torch
from safetensors.torch import load_file
from torch import nn
from dall_e.decoder import Decoder, DecoderBlock
from dall_e.encoder import Encoder, EncoderBlock
from dall_e.utils import Conv2d

recording, folder = sys.argv[1:]
weights = load_file(recording)

def fill(root, block, prefix):
    names = [k[len(prefix):-2] for k in weights
             if k.startswith(prefix) and k.endswith('.w')]
    for name in names:
        *path, last = name.split('.')
        module = root
        for part in path:
            if part not in module._modules:
                made = block() if part.startswith('block_') \\
                    else nn.Sequential()
                module.add_module(part, made)
            module = module._modules[part]
        module.add_module('relu', nn.ReLU())
        module.add_module(last, Conv2d(weights[prefix + name + '.w'],
                                       weights[prefix + name + '.b']))
    root.blocks.add_module('pool', nn.MaxPool2d(2))
    root.blocks.add_module('up', nn.Upsample(scale_factor=2))
    root.blocks.add_module('id', nn.Identity())
    return root

for name, root, block in (('encoder', Encoder(), EncoderBlock),
                          ('decoder', Decoder(), DecoderBlock)):
    module = fill(root, block, name + '/')
    for form in ('zip', 'legacy'):
        torch.save(module, f'{folder}/{name}_{form}.pkl',
                   _use_new_zipfile_serialization=form == 'zip')
"""


@pytest.fixture(scope='module')
def recording():
    return load_file(RECORDING)


@pytest.fixture(scope='module')
def pickles(tmp_path_factory):
    """Module objects, saved by torch in a process that has the classes."""
    folder = tmp_path_factory.mktemp('dall_e_files')
    package = folder / 'packages' / 'dall_e'
    package.mkdir(parents=True)
    for name, text in FAKE_PACKAGE.items():
        (package / name).write_text(text)
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', MAKE_FILES, RECORDING, folder],
        env={**os.environ, 'PYTHONPATH': str(package.parent)},
        check=True,
    )
    assert 'dall_e' not in sys.modules
    return folder


@pytest.fixture
def convert(monkeypatch, capsys):
    """Run the script in this process: (exit code, stdout, stderr)."""

    def run(src, dst):
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), str(src), str(dst)])
        with pytest.raises(SystemExit) as info:
            run_as_main(SCRIPT)
        printed = capsys.readouterr()
        return SimpleNamespace(
            returncode=info.value.code,
            stdout=printed.out,
            stderr=printed.err,
        )

    return run


def test_read_module_pickle__gives_the_state_dict(
    pickles, recording, subtests
):
    for name, form in itertools.product(
        ('encoder', 'decoder'), ('zip', 'legacy')
    ):
        with subtests.test(name=name, form=form):
            found = read_module_pickle(pickles / f'{name}_{form}.pkl')
            wanted = {
                k.split('/', 1)[1]: v
                for k, v in recording.items()
                if k.startswith(f'{name}/')
            }
            assert set(found) == set(wanted)
            assert all(torch.equal(found[k], wanted[k]) for k in wanted)


def test_convert__encoder_gives_the_recorded_tokens(
    pickles, recording, tmp_path, convert
):
    dst = tmp_path / 'new' / 'encoder.safetensors'
    done = convert(pickles / 'encoder_legacy.pkl', dst)
    assert done.returncode == 0, done.stderr
    assert 'DALLEEncoder: 74 tensors' in done.stdout
    assert 'SHA-256' in done.stdout
    cfg = dict(type='Pretrained', checkpoint=str(dst))
    encoder = DALLEEncoder(n_hid=8, vocab_size=32, init_cfg=cfg)
    encoder.init_weights()
    assert encoder.weights_info['sha256'] in done.stdout
    tokens = encoder.tokenize(recording['outputs/mapped'])
    assert torch.equal(tokens, recording['outputs/tokens'].flatten(1))
    assert [p.name for p in dst.parent.iterdir()] == [dst.name]


def test_convert__decoder_gives_the_recorded_image(
    pickles, recording, tmp_path, convert
):
    dst = tmp_path / 'decoder.pth'
    done = convert(pickles / 'decoder_zip.pkl', dst)
    assert done.returncode == 0, done.stderr
    assert 'DALLEDecoder: ' in done.stdout
    cfg = dict(type='Pretrained', checkpoint=str(dst))
    decoder = DALLEDecoder(n_hid=8, n_init=4, vocab_size=32, init_cfg=cfg)
    decoder.init_weights()
    images = decoder.reconstruct(recording['outputs/tokens'].flatten(1))
    torch.testing.assert_close(images, recording['outputs/reconstruction'])


def test_convert__accepts_a_plain_state_dict(recording, tmp_path, convert):
    weights = {
        k.split('/', 1)[1]: v
        for k, v in recording.items()
        if k.startswith('encoder/')
    }
    src = tmp_path / 'dalle_encoder.pth'
    torch.save(weights, src)
    dst = tmp_path / 'out.safetensors'
    assert convert(src, dst).returncode == 0
    again = tmp_path / 'again.pth'
    assert convert(dst, again).returncode == 0
    found = read_checkpoint(again)['state_dict']
    assert all(torch.equal(found[k], weights[k]) for k in weights)

    del weights['blocks.group_2.block_1.id_path.w']
    save_file(weights, src.with_suffix('.safetensors'))
    done = convert(src.with_suffix('.safetensors'), tmp_path / 'no.pth')
    assert done.returncode == 1
    assert 'blocks.group_2.block_1.id_path.w' in done.stderr
    assert not (tmp_path / 'no.pth').exists()


ENCODER = 'dall_e.encoder.Encoder'


# Payloads whose error must say that nothing was executed.
CALLS = (
    'os_system', 'getattr', 'nested', 'state', 'set', 'storage', 'copyreg',
    'nothing',
)  # fmt: skip


def hostile_objects(sentinel):
    """Objects that run code, also through the names that modules need."""
    call = Call(os.system, f'touch {sentinel}')
    found = payloads(sentinel)
    del found['sequential']  # a part of an honest DALL-E module
    return found | {
        'getattr': Call(
            getattr, Call(getattr, Call, '__init__'), '__globals__'
        ),
        'nested': torch.nn.Sequential(torch.nn.Linear(2, 2)),
        'state': Call(torch.nn.ReLU, state={'_modules': {'a': call}}),
        'set': Call(set, call),
        'storage': Call(
            torch.storage._load_from_bytes,
            pickle.dumps(Call(eval, f'touch {sentinel}')),
        ),
        'nothing': {'state_dict': {}, 'x': call},
    }


def saved(obj, form):
    stream = io.BytesIO()
    if form == 'bare':
        return pickle.dumps(obj)
    torch.save(obj, stream, _use_new_zipfile_serialization=form == 'zip')
    return stream.getvalue()


def test_read_module_pickle__refuses_code(tmp_path, subtests):
    sentinel, path = tmp_path / 'executed', tmp_path / 'x.pkl'
    files = {}
    for name, pickled in opcode_payloads(sentinel, ENCODER).items():
        files[f'{name}, by hand, bare'] = pickled
        files[f'{name}, by hand, zip'] = archive(*records(pickled))
    for name, obj in hostile_objects(sentinel).items():
        for form in ('bare', 'zip', 'legacy'):
            files[f'{name}, {form}'] = saved(obj, form)
    refusals = (UnsafeCheckpointError, UnreadableCheckpointError)
    for name, content in files.items():
        with subtests.test(name=name):
            sentinel.unlink(missing_ok=True)
            path.write_bytes(content)
            with pytest.raises(refusals) as info:
                read_module_pickle(path)
            assert len(str(info.value).splitlines()) == 1
            assert str(path) in str(info.value)
            if name.partition(',')[0] in CALLS and 'by hand' not in name:
                assert 'nothing was executed' in str(info.value)
            assert not sentinel.exists()


def test_convert__refuses_in_one_sentence(tmp_path, convert):
    sentinel, dst = tmp_path / 'executed', tmp_path / 'out.pth'
    src = tmp_path / 'encoder.pkl'
    torch.save(Call(os.system, f'touch {sentinel}'), src)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', SCRIPT, src, dst],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1
    assert 'posix.system' in done.stderr
    assert str(src) in done.stderr
    assert not sentinel.exists()
    assert not dst.exists()
    missing = convert(tmp_path / 'none.pkl', dst)
    assert missing.returncode == 1
    assert 'none.pkl can not be found' in missing.stderr
    same = convert(src, tmp_path / 'out.bin')
    assert same.returncode == 2


def test_read_module_pickle__refuses_tensors_outside_their_storage(
    pickles, tmp_path
):
    """Otherwise a tensor would show other memory of the process."""
    source = pickles / 'encoder_zip.pkl'
    for key, kept in (('data/0', 10), ('data/1', 0)):
        path = tmp_path / 'cut.pkl'
        with (
            zipfile.ZipFile(source) as old,
            zipfile.ZipFile(path, 'w') as new,
        ):
            for info in old.infolist():
                content = old.read(info)
                if info.filename.endswith(key):
                    content = content[:kept]
                new.writestr(info.filename, content)
        with pytest.raises(
            UnreadableCheckpointError, match='description says'
        ):
            read_module_pickle(path)


def test_read_module_pickle__names_a_damaged_file(pickles, tmp_path):
    for form in ('zip', 'legacy'):
        content = (pickles / f'encoder_{form}.pkl').read_bytes()
        for size in (0, 1, 100, len(content) // 2):
            path = tmp_path / 'cut.pkl'
            path.write_bytes(content[:size])
            with pytest.raises(UnreadableCheckpointError, match=r'cut\.pkl'):
                read_module_pickle(path)
