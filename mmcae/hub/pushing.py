# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Push a checkpoint to the Hub."""

import os
import tempfile

from mmcae.checkpoint.download import DownloadError
from mmcae.checkpoint.hub_file import (
    endpoint,
    explained,
    huggingface_hub,
    parse_address,
)
from mmcae.hub.repository import save_pretrained

COMMIT_MESSAGE = 'Push a model with mmcae'


def push_to_hub(
    checkpoint: str | os.PathLike,
    repo_id: str,
    *,
    config: str | None = None,
    data: str | None = None,
    license: str | None = None,
    commit_message: str = COMMIT_MESSAGE,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
) -> str:
    """Write the files of a repository, compare, and upload them.

    The repository is made if it does not exist. Its files are written and
    compared with the checkpoint before anything is sent.

    Args:
        checkpoint: As for `save_pretrained`.
        repo_id: ``OWNER/NAME``.
        config: As for `save_pretrained`.
        data: As for `save_pretrained`.
        license: As for `save_pretrained`.
        commit_message: Of the commit.
        private: Whether a new repository is private; None takes the owner's
            default.
        token: An access token; None takes ``HF_TOKEN`` or the login of
            huggingface_hub.
        branch: The branch; None is the main one.

    Returns:
        The address of the repository's page.

    Raises:
        DownloadError: If the Hub refuses, or cannot be reached.
        ValueError: As `save_pretrained`.
        FileNotFoundError: As `save_pretrained`.
    """
    repo_id = parse_address(repo_id).repo_id
    hub = huggingface_hub()
    if token is None and hub.get_token() is None:
        raise DownloadError(
            f'Cannot push to {repo_id}: there is no access token; log in with '
            '`hf auth login`, or set HF_TOKEN.'
        )
    with tempfile.TemporaryDirectory(prefix='mmcae-push-') as folder:
        save_pretrained(
            checkpoint,
            folder,
            repo_id=repo_id,
            config=config,
            data=data,
            license=license,
        )
        api = hub.HfApi(endpoint=endpoint(), token=token)
        with explained(repo_id, 'Cannot push to'):
            page = api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=branch,
            )
    return str(page)
