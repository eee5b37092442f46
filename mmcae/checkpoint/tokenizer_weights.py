# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Load the weights of a tokenizer: all of them, or an error."""

import os
from contextlib import nullcontext
from pathlib import Path

from torch import nn

from mmcae.checkpoint.download import DownloadError, download_once, split_pin
from mmcae.checkpoint.errors import UnsafeCheckpointError
from mmcae.checkpoint.mmengine_loader import removed_if_refused
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.reading import read_with_digest
from mmcae.checkpoint.weights import compare_state_dicts, weights_of

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
    'tools/train.py configs/tokenizer/...`; small tokenizers of digits and '
    'of emoji travel in the package: mmcae://dvae_... (docs/weights.md)'
)


def load_tokenizer_weights(
    module: nn.Module,
    checkpoint: str | os.PathLike,
    prefix: str = '',
    sha256: str | None = None,
) -> None:
    """Load the weights of a tokenizer: every key with its shape, or an error.

    With a few random layers in the tokenizer, a model would train on noise
    without a warning, so nothing partial is accepted. The file may hold a
    bare state dict, one under ``state_dict``, a training checkpoint of the
    tokenizer, or one of a model that has it as ``target_generator.``.

    Args:
        module: The tokenizer. ``module.weights_info`` becomes
            ``{'file': base name, 'sha256': hexadecimal digits}``.
        checkpoint: Local path or URL.
        prefix: Keep only keys with this prefix, and strip it.
        sha256: What the file must have as its SHA-256, 64 hexadecimal digits;
            None accepts any. A URL may also end in ``#sha256=`` and these.

    Raises:
        FileNotFoundError: If there is no such file; says where to get it.
        DownloadError: If a URL could not be downloaded; says the same.
        UnsafeCheckpointError: If the file needs code to be read.
        ValueError: If a key is missing or unexpected, or a shape differs, or
            a local file has another SHA-256.
    """
    location = url = str(checkpoint)
    is_remote = url.startswith(('http://', 'https://'))
    try:
        if is_remote:
            pinned = f'{split_pin(url)[0]}#sha256={sha256}' if sha256 else url
            location = str(download_once(pinned))
        guard = removed_if_refused(split_pin(url)[0], Path(location))
        with guard if is_remote else nullcontext():
            loaded, digest = read_with_digest(location)
            if sha256 is not None and digest != sha256.lower():
                raise ValueError(
                    f'{location} has the SHA-256 {digest}, but the config '
                    f'asks for {printable(sha256, 100)}; give the right '
                    'file, or change sha256.'
                )
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
    problems = compare_state_dicts(module.state_dict(), given)
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
    """Take the keys of the tokenizer out of a checkpoint of any layout."""
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
