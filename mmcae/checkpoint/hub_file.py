# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""From ``hf://OWNER/NAME@REVISION`` to a checked file in the Hub's cache.

huggingface_hub downloads and caches; mmcae compares the file with the hash
under which the server announced it, each time that it is used. Only the file
``model.safetensors`` of a repository is read, so nothing in it can run.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mmcae.checkpoint.download import LIMITS, DownloadError, split_pin
from mmcae.checkpoint.files import sha256_of
from mmcae.checkpoint.printable import printable

PREFIX = 'hf://'
WEIGHTS_FILE = 'model.safetensors'
INSTALL = "pip install 'mmcae[hub]'"
# `Path('hf://a/b')` has one slash.
_ADDRESS = re.compile(r'hf:/{1,2}(?P<rest>.*)', re.DOTALL)
_PARTS = re.compile(
    r'(?P<repo_id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?', re.ASCII
)
#: Packages whose errors mean that the Hub refused or could not be reached.
#: huggingface_hub has changed its HTTP library more than once.
_HTTP = ('huggingface_hub', 'requests', 'urllib3', 'httpx', 'httpx2')


class HubAddress(NamedTuple):
    """A repository of the Hub.

    Attributes:
        repo_id: ``OWNER/NAME``.
        revision: A branch, a tag or a commit; None is the main branch.
        sha256: What the weights must have as their SHA-256; None accepts the
            one that the server announces.
    """

    repo_id: str
    revision: str | None = None
    sha256: str | None = None


def is_hub_address(path: str | os.PathLike) -> bool:
    """Whether a path is an address of the Hub, ``hf://OWNER/NAME``."""
    return _ADDRESS.fullmatch(os.fspath(path)) is not None


def parse_address(address: str | os.PathLike) -> HubAddress:
    """Split an address into its parts.

    Args:
        address: ``hf://OWNER/NAME``, which may be followed by ``@REVISION``
            and by ``#sha256=`` and 64 hexadecimal digits; also without
            ``hf://``.

    Raises:
        ValueError: If it does not have this form.
        DownloadError: If the SHA-256 has not 64 hexadecimal digits.
    """
    text = os.fspath(address)
    found = _ADDRESS.fullmatch(text)
    plain, sha256 = split_pin(found['rest'] if found else text)
    parts = _PARTS.fullmatch(plain)
    if parts is None:
        raise ValueError(
            f'{printable(text, 1000)} is no address of the Hub: write '
            f'{PREFIX}OWNER/NAME or {PREFIX}OWNER/NAME@REVISION'
        )
    return HubAddress(parts['repo_id'], parts['revision'], sha256)


def hub_weights(address: str | os.PathLike) -> Path:
    """Download the weights of a repository, or find them in the cache.

    Args:
        address: As for `parse_address`.

    Returns:
        The file ``model.safetensors``.

    Raises:
        ValueError: As `parse_address`.
        DownloadError: As `hub_file`.
    """
    return hub_file(parse_address(address), WEIGHTS_FILE)


def hub_file(
    repo: HubAddress,
    name: str,
    token: str | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Path:
    """Download a file of a repository, or find it in the cache.

    Args:
        repo: The repository; its ``sha256`` holds for ``model.safetensors``.
        name: Name of the file.
        token: An access token; None takes ``HF_TOKEN`` or the login of
            huggingface_hub.
        cache_dir: Folder; huggingface_hub's cache if None.

    Returns:
        The file. It has the hash that the server announced.

    Raises:
        DownloadError: If there is no such repository, revision or file, the
            server cannot be reached, or the file is not the announced one.
    """
    hub = huggingface_hub()
    options = dict(revision=repo.revision, token=token, endpoint=endpoint())
    with explained(repo.repo_id, f'Cannot load {name} of'):
        _check_size(hub, repo.repo_id, name, options)
        path = hub.hf_hub_download(
            repo.repo_id, name, cache_dir=cache_dir, **options
        )
    pin = repo.sha256 if name == WEIGHTS_FILE else None
    _check_content(Path(path), pin, repo.repo_id)
    return Path(path)


def huggingface_hub() -> Any:
    """Import huggingface_hub.

    Raises:
        DownloadError: If it is not installed; says what to install.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise DownloadError(
            f'the Hub needs the package huggingface_hub: {INSTALL}'
        ) from None
    return huggingface_hub


def endpoint() -> str | None:
    """The server of ``HF_ENDPOINT``; None is huggingface_hub's default."""
    return os.environ.get('HF_ENDPOINT', '').rstrip('/') or None


@contextmanager
def explained(repo_id: str, what: str) -> Iterator[None]:
    """Turn every error of the Hub into one sentence.

    Args:
        repo_id: The repository.
        what: What is being done, the start of the sentence.

    Raises:
        DownloadError: If huggingface_hub or its HTTP library raises.
    """
    try:
        yield
    except Exception as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise DownloadError(
            f'{what} {printable(repo_id)}: {_reason(refusal)}.'
        ) from None


def _refusal(error: BaseException | None) -> BaseException | None:
    """Find the error of the Hub; an upload wraps it in a RuntimeError."""
    while error is not None:
        kinds = type(error).mro()
        packages = {kind.__module__.split('.')[0] for kind in kinds}
        if not packages.isdisjoint(_HTTP):
            return error
        error = error.__cause__
    return None


def _reason(error: BaseException) -> str:
    """Why the Hub refused, and what to do."""
    kinds = {kind.__name__ for kind in type(error).mro()}
    status = getattr(getattr(error, 'response', None), 'status_code', None)
    server = endpoint() or 'https://huggingface.co'
    log_in = 'log in with `hf auth login`, or set HF_TOKEN'
    if 'OfflineModeIsEnabled' in kinds or 'LocalEntryNotFoundError' in kinds:
        return f'{server} cannot be reached, and the cache does not have it'
    if 'GatedRepoError' in kinds:
        return (
            'its owner gives access on request: ask on its page, and then '
            f'{log_in}'
        )
    if 'RepositoryNotFoundError' in kinds:
        return (
            f'{server} has no such repository, or it is private: check the '
            f'name, or {log_in}'
        )
    if 'RevisionNotFoundError' in kinds:
        return 'it has no such revision'
    if 'EntryNotFoundError' in kinds:
        return 'it has no such file, so mmcae did not write this repository'
    if status == 401:
        return f'{server} does not accept the token: {log_in}'
    if status == 403:
        return (
            'the token may not do this: make one with write access on '
            f'{server}/settings/tokens'
        )
    if status is not None:
        lines = str(error).strip().splitlines()
        return f'{server} answered {printable(lines[0] if lines else status)}'
    if 'HFValidationError' in kinds:
        return printable(str(error))
    return (
        f'the connection to {server} failed ({type(error).__name__}); try '
        'again, nothing that has arrived is sent twice'
    )


def _check_size(hub: Any, repo_id: str, name: str, options: dict) -> None:
    """Refuse a file that is larger than any checkpoint of a recipe."""
    url = hub.hf_hub_url(
        repo_id,
        name,
        revision=options['revision'],
        endpoint=options['endpoint'],
    )
    try:
        known = hub.get_hf_file_metadata(url, token=options['token'])
    except Exception:
        return  # the download says why, or takes the file from the cache
    if known.size is not None and known.size > LIMITS.size:
        raise DownloadError(
            f'{name} of {printable(repo_id)} has {known.size:,} bytes, more '
            f'than {LIMITS.size:,}.'
        )


def _check_content(path: Path, pin: str | None, repo_id: str) -> None:
    """Compare a cached file with its hash; remove it if it differs.

    In the Hub's cache, a file that went through large file storage has its
    SHA-256 as its name, and any other one the hash of Git.
    """
    blob = path.resolve()
    announced = blob.name if blob.parent.name == 'blobs' else ''
    wanted, found = announced, announced
    if pin is not None or re.fullmatch('[0-9a-f]{64}', announced):
        wanted, found = pin or announced, sha256_of(blob)
    elif re.fullmatch('[0-9a-f]{40}', announced):
        content = blob.read_bytes()
        head = b'blob %d\0' % len(content)
        found = hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
    if found == wanted:
        return
    source = 'the pin is' if pin else 'the Hub announced'
    if pin is None:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    raise DownloadError(
        f'{path.name} of {printable(repo_id)} is not the right file: its hash '
        f'is {found}, but {source} {wanted}'
        + ('.' if pin else '; it was removed from the cache, so try again.')
    )
