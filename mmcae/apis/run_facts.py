# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""What a run was made of, written into its work dir when it starts."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size

from mmcae.checkpoint.digest import weights_digest
from mmcae.checkpoint.files import atomic_write
from mmcae.version import __version__

#: The file, in the folder of a start.
NAME = 'run.json'
_PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmpretrain',
    'onedl-mmsegmentation',
    'onedl-mmdetection',
)
#: Names of so many images are hashed; of longer lists, every second, third...
_MOST_NAMES = 100_000


def run_facts(runner: Any) -> dict[str, Any]:
    """Describe what a run is made of, in plain JSON values.

    Args:
        runner: The Runner, before the training.

    Returns:
        The command, the config's file, versions, git commits, the number of
        processes, and hashes of the list of images and of the tokenizer.
        What is not known is left out.
    """
    filename = runner.cfg.filename
    facts = dict(
        command=' '.join(sys.argv),
        config=filename and Path(filename).name,
        processes=get_world_size(),
        versions=versions(),
        git=git_commits(Path(filename).parent if filename else None),
        data=data_facts(runner.train_dataloader.dataset),
        tokenizer=tokenizer_facts(runner.model),
    )
    return {name: value for name, value in facts.items() if value}


def write_facts(runner: Any) -> Path:
    """Write `run_facts` into the folder of the start."""
    path = Path(runner.log_dir) / NAME
    with atomic_write(path) as file:
        file.write(json.dumps(run_facts(runner), indent=1).encode())
    return path


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the facts of a start; none if there are none, or it is damaged."""
    try:
        facts = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def versions() -> dict[str, str]:
    """The versions of mmcae and of the packages that compute."""
    found = {'mmcae': __version__}
    for name in _PACKAGES:
        try:
            found[name.removeprefix('onedl-')] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commits(config_folder: Path | None) -> dict[str, str]:
    """The commits of mmcae and of the config, if git tracks them.

    Args:
        config_folder: Where the config is.
    """
    package = Path(__file__).resolve().parents[1]
    found = {'mmcae': _commit(package)}
    if config_folder is not None:
        commit = _commit(config_folder)
        if commit != found['mmcae']:
            found['config'] = commit
    return {name: commit for name, commit in found.items() if commit}


def data_facts(dataset: Any) -> dict[str, Any]:
    """The number of images, and a hash of their list.

    The hash covers the names relative to the folder of all images, in order.
    For more than 100,000 images it covers every second, third... name.

    Args:
        dataset: The training data.
    """
    facts: dict[str, Any] = dict(images=len(dataset))
    step = -(-len(dataset) // _MOST_NAMES) or 1
    try:
        paths = [
            str(dataset.get_data_info(index)['img_path'])
            for index in range(0, len(dataset), step)
        ]
    except (AttributeError, KeyError, TypeError):
        return facts
    if paths:
        shared = _shared_folder(min(paths), max(paths))
        names = '\n'.join(path[shared:] for path in paths)
        content = names.encode('utf-8', 'surrogateescape')
        facts['list_sha256'] = hashlib.sha256(content).hexdigest()
    return facts


def tokenizer_facts(model: Any) -> dict[str, Any]:
    """The tokenizer's class, its file, and a hash of its tensors.

    Args:
        model: The model, with or without a wrapper.
    """
    model = getattr(model, 'module', model)
    tokenizer = getattr(model, 'target_generator', None)
    if tokenizer is None:
        return {}
    info = getattr(tokenizer, 'weights_info', None) or {}
    return dict(
        type=type(tokenizer).__name__,
        file=info.get('file'),
        sha256=weights_digest(tokenizer),
    )


def _shared_folder(first: str, last: str) -> int:
    """The length of the folder that two paths, and all between, share."""
    length = 0
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        length += 1
    return first[:length].rfind('/') + 1


def _commit(folder: Path) -> str:
    """The commit of a folder that git tracks, and whether files changed."""

    def ask(*command: str) -> str:
        return subprocess.run(
            ['git', '-C', str(folder), *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        if not ask('ls-files', '.'):
            return ''  # such as site-packages below a repository
        commit = ask('rev-parse', '--short=12', 'HEAD')
        changed = ask('status', '--porcelain', '--untracked-files=no')
    except (OSError, subprocess.SubprocessError):
        return ''
    return f'{commit} with changes' if changed else commit
