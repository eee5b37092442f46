# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The one loader of files made by others: reads data, never runs code."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import mmengine.runner.checkpoint as mmengine_checkpoint
import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from mmcae.checkpoint.decoding import decode_checkpoint, decode_file
from mmcae.checkpoint.download import (
    DownloadError,
    download_once,
    sha256_of,
)
from mmcae.checkpoint.errors import (
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.tensors import MapLocation
from mmcae.checkpoint.weights import check_layout, weights_of
from mmcae.checkpoint.writing import write_weights

__all__ = [
    'DownloadError',
    'UnreadableCheckpointError',
    'UnsafeCheckpointError',
    'load_tokenizer_weights',
    'read_checkpoint',
    'register_safe_loader',
    'sha256_of',
    'write_weights',
]


def read_checkpoint(
    path: str | os.PathLike, map_location: MapLocation = 'cpu'
) -> dict:
    """Read a checkpoint without executing anything in it.

    ``.safetensors`` files become ``{'state_dict': ..., 'meta': ...}``. All
    others are read by :mod:`mmcae.checkpoint`, whose result does not depend
    on torch's version or on what the process allows: sizes are compared with
    the bytes that are there before a tensor is made, and only the names of
    :mod:`mmcae.checkpoint.allow_list` may occur.

    Args:
        path (str | PathLike): A local file.
        map_location (str | device | dict | callable, optional): As for
            ``torch.load``. Defaults to ``'cpu'``.

    Returns:
        dict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If the file needs code to be read.
        UnreadableCheckpointError: If it is damaged or of another kind.
    """
    with open(_existing(path), 'rb') as file:
        return decode_file(file, str(path), map_location)


def read_with_digest(path: str | os.PathLike) -> tuple[dict, str]:
    """Read a checkpoint and the SHA-256 of the very bytes that were read.

    Args:
        path (str | PathLike): A local file.

    Returns:
        tuple[dict, str]: What :func:`read_checkpoint` returns, and 64
        hexadecimal digits.
    """
    content = _existing(path).read_bytes()
    checkpoint = decode_checkpoint(content, str(path))
    return checkpoint, hashlib.sha256(content).hexdigest()


def _existing(path: str | os.PathLike) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'{file} can not be found.')
    return file


def load_from_local(filename: str, map_location: MapLocation = None) -> dict:
    """Read a local file for mmengine, converting an authors' file.

    mmengine logs ``__name__[10:]`` of a loader as its backend, so this one
    has to be called ``load_from_...``.

    Args:
        filename (str): The path.
        map_location (str | device | dict | callable, optional): As for
            ``torch.load``.

    Returns:
        dict: The checkpoint, with OpenMMLab's tensor names.
    """
    from mmcae.checkpoint.official import convert_if_official

    checkpoint = read_checkpoint(filename, map_location)
    check_layout(checkpoint, str(filename))
    return convert_if_official(checkpoint)


def load_from_http(
    filename: str, map_location: MapLocation = None, **kwargs: Any
) -> dict:
    """Fetch, check and read a file for mmengine.

    Args:
        filename (str): The URL.
        map_location (str | device | dict | callable, optional): As for
            ``torch.load``.

    Returns:
        dict: The checkpoint, with OpenMMLab's tensor names.
    """
    path = download_once(filename)
    with kept_if_good(filename, path):
        return load_from_local(str(path), map_location)


@contextmanager
def kept_if_good(url: str, path: Path) -> Iterator[None]:
    """Remove a downloaded file from the cache if reading refuses it.

    It would be refused again at every start, and another program might take
    it from there without a check.

    Args:
        url (str): Where it came from.
        path (Path): The file in the cache.

    Raises:
        DownloadError: If it is damaged or no checkpoint.
        UnsafeCheckpointError: If it needs code to be read.
    """
    refused: Exception
    kind: type[Exception]
    try:
        yield
        return
    except UnsafeCheckpointError as error:
        refused, kind = error, UnsafeCheckpointError
    except UnreadableCheckpointError as error:
        refused, kind = error, DownloadError
    path.unlink(missing_ok=True)
    raise kind(
        f'What {printable(url, 1000)} gave is refused, and was removed from '
        f'the cache ({printable(str(path), 1000)}): {refused} If the '
        'address is right, fetch the file elsewhere and give its path.'
    ) from None


def _load_any(
    file: Any, map_location: MapLocation = None, weights_only: Any = None
) -> dict:
    if isinstance(file, str | os.PathLike):
        return read_checkpoint(file, map_location)
    return decode_checkpoint(file.read(), 'the given stream', map_location)


def register_safe_loader() -> None:
    """Make every load of an mmengine process go through this module.

    Paths and URLs by mmengine's public registration; the schemes that end
    in one of these (``open-mmlab://``, ``mmcls://``, ``s3://``, ...) call
    two functions of mmengine by name, which are replaced.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(
        ('http://', 'https://'), load_from_http, force=True
    )
    mmengine_checkpoint._safe_torch_load = _load_any
    mmengine_checkpoint.load_from_http = load_from_http


TOKENIZER_URLS = (
    'https://mmassets.onedl.ai/mmselfsup/1.x/target_generator_ckpt/'
    'dalle_encoder.pth',
    'https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/'
    'dalle_encoder.pth',
    'https://cdn.openai.com/dall-e/encoder.pkl',
    'https://cdn.openai.com/dall-e/decoder.pkl',
)
_HOW_TO_GET = (
    'DALL-E weights: ' + ' or '.join(TOKENIZER_URLS[:2]) + ' as they are, '
    'or ' + ' and '.join(TOKENIZER_URLS[2:]) + ' after `python '
    'tools/model_converters/dalle_to_mmcae.py encoder.pkl '
    'dalle_encoder.pth`; a tokenizer of your own images: `python '
    'tools/train.py configs/tokenizer/...`'
)


def load_tokenizer_weights(
    module: nn.Module, checkpoint: str | os.PathLike, prefix: str = ''
) -> None:
    """Load a tokenizer's weights: every key and every shape, or an error.

    A tokenizer with a few random layers trains silently on noise, so
    nothing partial is accepted. The file may hold a bare state dict, one
    under ``state_dict``, a training checkpoint of the tokenizer, or one of
    a model that has it as ``target_generator.``.

    Args:
        module (nn.Module): The tokenizer; ``module.weights_info`` becomes
            ``{'file': base name, 'sha256': hexadecimal digits}``.
        checkpoint (str | PathLike): Local path or URL.
        prefix (str): Keep only keys with this prefix, and strip it.

    Raises:
        FileNotFoundError: If there is no such file; says where to get it.
        DownloadError: If a URL could not be fetched; says the same.
        UnsafeCheckpointError: If the file needs code to be read.
        ValueError: If a key is missing or left over, or a shape differs.
    """
    location = url = str(checkpoint)
    is_remote = url.startswith(('http://', 'https://'))
    try:
        if is_remote:
            location = str(download_once(url))
        with kept_if_good(url, Path(location)) if is_remote else nullcontext():
            loaded, digest = read_with_digest(location)
            given = _tokenizer_state_dict(loaded, prefix, location)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'No tokenizer weights at {Path(location).expanduser().resolve()}'
            f'. {_HOW_TO_GET}.'
        ) from None
    except DownloadError as error:
        raise DownloadError(f'{error} {_HOW_TO_GET}.') from None
    except UnsafeCheckpointError as error:
        name = os.path.basename(location) if is_remote else location
        raise UnsafeCheckpointError(
            f'{error} If it is a DALL-E pickle: `python tools/'
            f'model_converters/dalle_to_mmcae.py {name} OUT.pth`.'
        ) from None
    wanted = module.state_dict()
    problems = compare_state_dicts(wanted, given)
    if problems:
        raise ValueError(
            f'{location} does not hold the weights of this '
            f'{type(module).__name__}: {"; ".join(problems)}. Check the '
            'sizes in the config (vocab_size, n_hid, ...) and the file.'
        )
    module.load_state_dict(given)
    module.weights_info = {  # type: ignore[assignment]
        'file': os.path.basename(location),
        'sha256': digest,
    }


def _tokenizer_state_dict(loaded: dict, prefix: str, name: str) -> dict:
    state_dict = weights_of(loaded, name)
    for start in ('module.', prefix or 'target_generator.'):
        inner = {
            key[len(start) :]: value
            for key, value in state_dict.items()
            if key.startswith(start)
        }
        if inner or start == prefix:
            state_dict = inner
    return state_dict


def compare_state_dicts(wanted: dict, given: dict) -> list[str]:
    """Say how two state dicts differ: counts, and the first few of each."""

    def some(names: list[str], what: str) -> list[str]:
        more = ', ...' if len(names) > 3 else ''
        shown = ', '.join(map(printable, names[:3]))
        text = f'{len(names)} {what} ({shown}{more})'
        return [text] if names else []

    shapes = [
        f'{key}: {tuple(given[key].shape)} instead of {tuple(value.shape)}'
        for key, value in wanted.items()
        if isinstance(given.get(key), torch.Tensor)
        and given[key].shape != value.shape
    ]
    missing = [k for k in wanted if not isinstance(given.get(k), torch.Tensor)]
    unexpected = [k for k in given if k not in wanted]
    return [
        *some(missing, f'of {len(wanted)} tensors missing'),
        *some(unexpected, 'unexpected'),
        *some(shapes, 'of another shape'),
    ]
