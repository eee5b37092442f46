# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""`read_checkpoint` reads real checkpoints, and never runs code."""

import argparse
import collections
import os
import sys
import threading

import numpy as np
import pytest
import torch
from helpers.corpus.code import Call
from mmengine.logging import HistoryBuffer

from mmcae.checkpoint import reading
from mmcae.checkpoint.mmengine_loader import register_safe_loader
from mmcae.checkpoint.reading import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
    read_checkpoint,
    sha256_of,
    write_weights,
)
from mmcae.checkpoint.tokenizer_weights import load_tokenizer_weights
from mmcae.checkpoint.weights import compare_state_dicts


def write(obj, path, form):
    """Save as `torch.save` does, in its zip or its older format."""
    torch.save(obj, path, _use_new_zipfile_serialization=form == 'zip')
    return path


def test_read_checkpoint__names_what_was_refused(tmp_path):
    path = write(Call(os.system, 'true'), tmp_path / 'w.pth', 'zip')
    with pytest.raises(UnsafeCheckpointError, match=r'call posix\.system'):
        read_checkpoint(path)


def test_read_checkpoint__ignores_the_process_wide_list(tmp_path):
    """mmengine's list has getattr, with which a file reaches ``eval``."""
    path = write(
        Call(getattr, HistoryBuffer, '__init__'), tmp_path / 'w.pth', 'zip'
    )
    extra = [getattr, HistoryBuffer]
    with torch.serialization.safe_globals(extra):
        assert callable(torch.load(path, weights_only=True))
        with pytest.raises(ValueError, match='getattr'):
            read_checkpoint(path)
        assert set(extra) <= set(torch.serialization.get_safe_globals())


def test_read_checkpoint__restores_the_list_for_other_threads(tmp_path):
    former = set(torch.serialization.get_safe_globals())
    good = tmp_path / 'good.pth'
    torch.save({'a': HistoryBuffer([1.0], [1])}, good)
    bad = write(Call(os.system, 'true'), tmp_path / 'bad.pth', 'zip')

    def work(results):
        for _ in range(20):
            results.append(read_checkpoint(good)['a'].current())
            with pytest.raises(UnsafeCheckpointError):
                read_checkpoint(bad)

    results = []
    threads = [
        threading.Thread(target=work, args=(results,)) for _ in range(4)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert results == [1.0] * 80
    assert set(torch.serialization.get_safe_globals()) == former


def test_read_checkpoint__reads_a_training_checkpoint(tmp_path):
    history = HistoryBuffer([1.0, 2.5], [1, 2])
    weights = collections.OrderedDict(w=torch.randn(3))
    weights._metadata = {'': {'version': 1}}
    checkpoint = dict(
        meta=dict(
            epoch=3,
            dataset_meta=dict(
                palette=np.arange(6, dtype=np.uint8).reshape(2, 3).T,
                classes=('a', 'b'),
            ),
            share=np.float64(0.5),
            state=('MT', np.arange(4, dtype=np.uint32), 1, 0, 0.0),
            names=np.array(['x', 'yz']),
            big_endian=np.arange(3, dtype='>i4'),
        ),
        state_dict=weights,
        message_hub=dict(
            log_scalars=collections.OrderedDict({'train/loss': history}),
            runtime_info=collections.OrderedDict(iter=1),
        ),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}),
    )
    for form in ('zip', 'legacy'):
        path = write(checkpoint, tmp_path / 'epoch_3.pth', form)
        found = read_checkpoint(path)
        assert torch.equal(found['state_dict']['w'], weights['w'])
        assert found['state_dict']._metadata == weights._metadata
        restored = found['message_hub']['log_scalars']['train/loss']
        assert type(restored) is HistoryBuffer
        assert restored.mean() == history.mean()
        assert restored.statistics('max') == 2.5
        restored.update(9.0)
        meta, given = found['meta'], checkpoint['meta']
        assert type(meta['dataset_meta']['palette']) is np.ndarray
        for key in ('share', 'names', 'big_endian'):
            np.testing.assert_array_equal(meta[key], given[key])
        np.testing.assert_array_equal(
            meta['dataset_meta']['palette'], given['dataset_meta']['palette']
        )
        np.testing.assert_array_equal(meta['state'][1], given['state'][1])
        # The result can be saved and read again.
        torch.save(found, tmp_path / 'again.pth')
        read_checkpoint(tmp_path / 'again.pth')


def test_read_checkpoint__reads_authors_arguments(tmp_path):
    args = argparse.Namespace(lr=1e-3, betas=[0.9, 0.98], name='cae')
    path = write({'model': {}, 'args': args}, tmp_path / 'c.pth', 'legacy')
    assert read_checkpoint(path)['args'] == args


def test_read_checkpoint__safetensors_has_metadata(tmp_path):
    path = tmp_path / 'w.safetensors'
    digest = write_weights({'w': torch.ones(2)}, path, {'model': 'x'})
    found = read_checkpoint(path)
    assert torch.equal(found['state_dict']['w'], torch.ones(2))
    assert found['meta'] == {'model': 'x'}
    assert digest == sha256_of(path)


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors'])
def test_read_checkpoint__names_a_damaged_file(tmp_path, name):
    path = tmp_path / name
    write_weights({'w': torch.randn(1000)}, path)
    content = path.read_bytes()
    for size in (0, 1, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UnreadableCheckpointError, match=name):
            read_checkpoint(path)
    path.write_text('<html>Not found</html>')
    with pytest.raises(UnreadableCheckpointError, match='damaged'):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        read_checkpoint(tmp_path / 'none.pth')


def test_read_checkpoint__the_content_must_be_a_dictionary(tmp_path):
    path = write(torch.ones(2), tmp_path / 'w.pth', 'zip')
    with pytest.raises(UnreadableCheckpointError, match='Tensor'):
        read_checkpoint(path)


def test_write_weights__leaves_nothing_half_written(tmp_path):
    path = tmp_path / 'w.pth'
    path.write_bytes(b'old')
    with pytest.raises(AttributeError):
        write_weights({'w': 1}, path)
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_reading__old_places_of_functions_still_work():
    for function in (
        compare_state_dicts,
        load_tokenizer_weights,
        register_safe_loader,
    ):
        name = function.__name__
        with pytest.warns(DeprecationWarning, match=f'{name} moved to'):
            assert getattr(reading, name) is function
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = reading.other
