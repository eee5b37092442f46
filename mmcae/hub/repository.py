# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The files of a repository: write them, and build the model from them."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmcae.apis.loading import load_model
from mmcae.apis.run_folder import RunFolder, read_run
from mmcae.checkpoint.errors import UnreadableCheckpointError
from mmcae.checkpoint.files import sha256_of
from mmcae.checkpoint.hub_file import (
    WEIGHTS_FILE,
    hub_file,
    is_hub_address,
    parse_address,
)
from mmcae.checkpoint.packaged import (
    is_packaged,
    local_file,
    packaged_weights,
)
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.reading import read_checkpoint
from mmcae.export.mmcae_format import write_source
from mmcae.export.source import Source, read_source
from mmcae.hub.model_card import PROBES, Facts, model_card
from mmcae.hub.model_config import (
    plain_model,
    read_model_config,
    training_config,
)
from mmcae.hub.provenance import foreign_weights
from mmcae.version import __version__

CONFIG_FILE, CARD_FILE = 'config.json', 'README.md'


def save_pretrained(
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    repo_id: str = 'OWNER/NAME',
    config: str | None = None,
    data: str | None = None,
    license: str | None = None,
) -> Path:
    """Write the files of a repository, and build the model from them.

    Args:
        checkpoint: A checkpoint of pretraining or of a classifier, or the
            address of one.
        folder: Gets ``model.safetensors``, ``config.json`` and ``README.md``.
        repo_id: The repository, for the examples of the card.
        config: Path or name of the config, for a checkpoint without one.
        data: What the model was trained on, in words, for the card.
        license: Identifier of the license, such as ``'apache-2.0'``.

    Returns:
        The folder.

    Raises:
        ValueError: If the model cannot be built from its config, or the
            files give other features than the checkpoint.
        FileNotFoundError: If there is no such checkpoint.
    """
    address = os.fspath(checkpoint)
    path = local_file(address)
    content = read_checkpoint(path)
    trained_with = training_config(address, content, config)
    model = plain_model(trained_with)
    loaded = load_model(
        str(path), config=Config(dict(model=model)), with_tokenizer=False
    ).model.eval()
    encoder: Any = loaded.backbone
    source = read_source(path, encoder.layers[0].attn.num_heads)
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    digest = write_source(
        source, folder / WEIGHTS_FILE, {'cfg': f'model = {model!r}\n'}
    )
    recipe = _recipe(source, address)
    described = dict(
        library_name='mmcae',
        mmcae_version=__version__,
        recipe=recipe,
        kind=source.kind,
        epoch=source.header.get('epoch'),
        normalization=source.normalization,
        classes=source.class_names,
        files={WEIGHTS_FILE: {'sha256': digest}},
        model=model,
    )
    known = {key: value for key, value in described.items() if value}
    text = json.dumps(known, indent=2) + '\n'
    (folder / CONFIG_FILE).write_text(text, encoding='utf-8')
    _check_equal(loaded, from_pretrained(folder), address)
    packaged = packaged_weights()[path.stem] if is_packaged(address) else {}
    facts = Facts(
        repo_id=repo_id,
        source=source,
        model=loaded,
        recipe=recipe,
        sha256=digest,
        data=data or packaged.get('data_source'),
        dataset=_dataset_of(trained_with),
        license=license or packaged.get('license', '').lower() or None,
        foreign=_foreign(trained_with, config, content, path, bool(packaged)),
        probes=_probes(path, source.header.get('epoch')),
    )
    card = model_card(facts)
    (folder / CARD_FILE).write_text(card, encoding='utf-8')
    return folder


def from_pretrained(
    source: str | os.PathLike,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> nn.Module:
    """Build a model from a repository of the Hub, or from its folder.

    Nothing in the repository is executed: the config is JSON and may name
    only classes of mmcae, mmpretrain, mmcv and mmengine, and the weights are
    safetensors.

    Args:
        source: ``'OWNER/NAME'``, ``'hf://OWNER/NAME@REVISION'``, or a folder
            that `save_pretrained` wrote.
        revision: A branch, a tag or a commit.
        token: An access token; None takes ``HF_TOKEN`` or the login of
            huggingface_hub.
        cache_dir: Folder; huggingface_hub's cache if None.

    Returns:
        The model in evaluation mode, on the CPU. A CAE comes without its
        tokenizer, which features do not need.

    Raises:
        DownloadError: If the repository cannot be loaded.
        UnreadableCheckpointError: If its files do not belong together, or
            are not of mmcae.
    """
    folder = Path(source).expanduser()
    if folder.is_dir() and not is_hub_address(source):
        config_path, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    else:
        repo = parse_address(source)
        if revision is not None:
            repo = repo._replace(revision=revision)
        config_path, weights = (
            hub_file(repo, name, token, cache_dir)
            for name in (CONFIG_FILE, WEIGHTS_FILE)
        )
    for file in (config_path, weights):
        if not file.is_file():
            raise FileNotFoundError(f'there is no {file}')
    config = read_model_config(config_path)
    _check_digest(weights, config)
    settings = Config(dict(model=config['model']))
    loaded = load_model(str(weights), config=settings, with_tokenizer=False)
    return loaded.model.eval()


def _check_digest(weights: Path, config: dict[str, Any]) -> None:
    try:
        wanted = config['files'][WEIGHTS_FILE]['sha256']
    except (KeyError, TypeError):
        wanted = None
    found = sha256_of(weights)
    if wanted != found:
        raise UnreadableCheckpointError(
            f'{weights} is not the file that {CONFIG_FILE} describes: its '
            f'SHA-256 is {found}, and {CONFIG_FILE} says {printable(wanted)}'
        )


@torch.no_grad()
def _check_equal(old: Any, new: Any, name: str) -> None:
    """Require equal tensors and, bit by bit, equal features."""
    channels = old.backbone.patch_embed.projection.in_channels
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, channels, *old.backbone.img_size, generator=random)
    pairs = zip(
        old.extract_feat(images), new.extract_feat(images), strict=True
    )
    tensors, others = (
        {k: v for k, v in model.state_dict().items() if k[:8] != 'teacher.'}
        for model in (old, new)
    )
    if (
        tensors.keys() != others.keys()
        or not all(torch.equal(tensors[k], others[k]) for k in tensors)
        or not all(torch.equal(a, b) for a, b in pairs)
    ):
        raise ValueError(
            f'the files that were written for {name} give another model than '
            'the checkpoint; please report this'
        )


def _recipe(source: Source, address: str) -> str | None:
    return local_file(address).stem if is_packaged(address) else source.recipe


def _foreign(
    config: Config,
    given: str | None,
    content: dict[str, Any],
    path: Path,
    packaged: bool,
) -> list[str]:
    if packaged:  # trained by mmcae's own program, each from the start
        return []
    known = None if given is not None else config
    return foreign_weights(known, content, path)


def _dataset_of(config: Config) -> str | None:
    """The class of the images that the run was trained on, if it says so."""
    loader = config.get('train_dataloader') or {}
    dataset = loader.get('dataset') or {}
    return dataset.get('type')


def _probes(path: Path, epoch: Any) -> dict[str, tuple[float, int]]:
    """Measured numbers of the run that the checkpoint lies in.

    Returns:
        By name, the value in percent and the iteration at which it was
        measured: the latest one that is not later than the checkpoint.
    """
    try:
        run: RunFolder = read_run(path.parent)
    except (FileNotFoundError, ValueError):
        return {}
    found: dict[str, tuple[float, int]] = {}
    for record in run.records:
        late = isinstance(epoch, int) and record.get('epoch', 0) > epoch
        for name in PROBES:
            if name in record and not late:
                found[name] = (record[name], int(record['step']))
    return found
