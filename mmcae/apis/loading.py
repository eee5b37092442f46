# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Build a model from a checkpoint alone, a config, or a name of the zoo."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

import mmcae.models  # noqa: F401
from mmcae.apis.recorded_config import recorded_config
from mmcae.checkpoint.digest import weights_digest
from mmcae.checkpoint.download import DownloadError
from mmcae.checkpoint.hub_file import hub_weights, is_hub_address
from mmcae.checkpoint.load_with_report import load_state_dict
from mmcae.checkpoint.mmengine_loader import load_from_local
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.tokenizer_weights import (
    TOKENIZER_URLS,
    load_tokenizer_weights,
)
from mmcae.checkpoint.weights import meta_of, weights_of
from mmcae.config.search_path import find_config
from mmcae.registry import MODELS

_SUFFIXES = ('.pth', '.pt', '.bin', '.ckpt', '.safetensors')
RANDOM = 'random'


@dataclass
class LoadedModel:
    """A model, and what is known about it.

    Attributes:
        model: The model.
        config: The config it was built from; empty for a model that the
            caller built.
        tokenizer: The tokenizer with its weights, or None.
        decoder: What draws tokens, or None.
        name: A short name for titles.
        notes: Why something cannot be drawn, one sentence each.
    """

    model: nn.Module
    config: Config = field(default_factory=Config)
    tokenizer: Any = None
    decoder: Any = None
    name: str = ''
    notes: list[str] = field(default_factory=list)

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        return self.model.backbone  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device


def load_model(
    model: 'nn.Module | LoadedModel | str | os.PathLike',
    config: str | os.PathLike | Config | None = None,
    tokenizer: str | os.PathLike | None = None,
    decoder: str | os.PathLike | nn.Module | None = None,
    device: str | torch.device | None = None,
    with_tokenizer: bool = True,
) -> LoadedModel:
    """Load a model for pictures, from whatever names it.

    Args:
        model: A checkpoint file, which brings its config; ``'random'`` for
            new weights (with ``config``); a name of mmpretrain's zoo; or a
            model in memory. A `LoadedModel` is returned as it is.
        config: Config of the model, a path or the name of a packaged config.
            Needed for checkpoints without one, such as the authors'.
        tokenizer: File of the tokenizer's weights. By default the file that
            the config names, also if the run's folder was moved.
        decoder: What draws tokens: a module with ``reconstruct(tokens,
            grid=...)``, or a file of DALL-E's decoder. By default the
            tokenizer itself, if it can.
        device: Where the model goes. By default a model in memory stays
            where it is, and others go to the CPU.
        with_tokenizer: False leaves the tokenizer out. Features and
            attention do not need it.

    Returns:
        The model and its config.

    Raises:
        FileNotFoundError: If a file or a name does not exist.
        ValueError: If the checkpoint has no config and none is given, or its
            weights do not fit.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, nn.Module):
        known = getattr(model, '_config', None) or Config()
        loaded = LoadedModel(model, known, name=type(model).__name__)
        checkpoint: Mapping[str, Any] = {}
    else:
        checkpoint, loaded = _from_name(str(model), config, with_tokenizer)
    module = getattr(loaded.model, 'target_generator', None)
    if with_tokenizer and module is not None:
        _load_tokenizer(loaded, module, str(model), checkpoint, tokenizer)
        _choose_decoder(loaded, decoder)
    if device is not None:
        loaded.model.to(device)
        if isinstance(loaded.decoder, nn.Module):
            loaded.decoder.to(device)
    return loaded


def _from_name(
    name: str, config: Any, with_tokenizer: bool
) -> tuple[Mapping[str, Any], LoadedModel]:
    if is_hub_address(name):
        name = str(hub_weights(name))
    path = Path(name).expanduser()
    is_file = path.is_file() and path.suffix != '.py'
    if not is_file and name != RANDOM:
        if path.suffix in _SUFFIXES:
            raise FileNotFoundError(f'there is no checkpoint {name}')
        if config is None and path.suffix != '.py':
            return {}, _from_zoo(name)
        raise ValueError(
            f'{name} is not a checkpoint: give the checkpoint, and the config '
            "as config=...; 'random' instead of a checkpoint draws new "
            'weights'
        )
    checkpoint: Mapping[str, Any] = {}
    if is_file:
        checkpoint = load_from_local(str(path), 'cpu')
    cfg = _config_of(checkpoint, name, config)
    model_cfg = _without_init(cfg.model)
    # Many configs have it beside the model, where mmengine's Runner finds it.
    if cfg.get('data_preprocessor'):
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    if not with_tokenizer:
        model_cfg.pop('target_generator', None)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(model_cfg)
        if is_file:
            _load_weights(model, checkpoint, name)
        else:
            _draw_weights(model)
    model._config = cfg  # as mmpretrain's get_model does
    return checkpoint, LoadedModel(model, cfg, name=path.stem)


def _from_zoo(name: str) -> LoadedModel:
    from mmpretrain import get_model

    model = get_model(name, pretrained=True)
    return LoadedModel(model, model._config, name=name)


def _config_of(
    checkpoint: Mapping[str, Any], name: str, config: Any
) -> Config:
    if isinstance(config, Config):
        return config
    if config is not None:
        cfg = Config.fromfile(find_config(config))
    else:
        cfg = recorded_config(checkpoint, name) if checkpoint else None
    if cfg is None:
        raise ValueError(
            f'{name} does not say how its model is built: give its config, '
            'e.g. config=cae_beit-base-p16_8xb256-amp-coslr-300e_in1k'
        )
    if cfg.get('model') is None:
        raise ValueError(f'{config} has no model')
    return cfg


def _without_init(cfg: Any) -> Any:
    """Copy a model's config without ``init_cfg``; the tokenizer keeps its.

    The weights of a checkpoint replace all initial weights, so a file that
    ``init_cfg`` names is not needed.
    """
    if isinstance(cfg, dict):
        return type(cfg)(
            {
                key: value
                if key == 'target_generator'
                else _without_init(value)
                for key, value in cfg.items()
                if key != 'init_cfg'
            }
        )
    if isinstance(cfg, list | tuple):
        return type(cfg)(_without_init(item) for item in cfg)
    return cfg


def _load_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], name: str
) -> None:
    """Load a checkpoint, and require all weights of regressor and decoder."""
    weights = weights_of(checkpoint, name)
    load_state_dict(model, weights)
    neck = getattr(model, 'neck', None)
    if neck is None or not hasattr(neck, 'regress'):
        return
    lacking = [k for k in neck.state_dict() if f'neck.{k}' not in weights]
    if lacking:
        raise ValueError(
            f'{name} has an encoder, but not all weights of the regressor and '
            f'the decoder ({len(lacking)} are missing, e.g. neck.{lacking[0]})'
            ': give a checkpoint of pretraining'
        )


def _draw_weights(model: nn.Module) -> None:
    """Initialize a model, but not its tokenizer, which has a file."""
    tokenizer = getattr(model, 'target_generator', None)
    if tokenizer is not None:
        model.target_generator = None  # type: ignore[assignment]
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # mmengine logs each tensor
    try:
        model.init_weights()  # type: ignore[operator]
    finally:
        logging.disable(before)
        if tokenizer is not None:
            model.target_generator = tokenizer


def _load_tokenizer(
    loaded: LoadedModel,
    module: nn.Module,
    name: str,
    checkpoint: Mapping[str, Any],
    given: str | os.PathLike | None,
) -> None:
    """Load the tokenizer's weights, or note why there are none."""
    record = meta_of(checkpoint).get('tokenizer')
    wanted = record.get('weights') if isinstance(record, Mapping) else None
    recorded = _recorded_file(module)
    files: list[Any] = []
    if given is not None:
        files = [given]
    elif recorded and getattr(module, 'weights_info', None) is None:
        files = _places(recorded, name)
        if not files:
            loaded.notes.append(
                f"the tokenizer's file {printable(recorded, 1000)} is not "
                'here; give the file as tokenizer=...'
            )
            return
    # A relative path may lead to the tokenizer of another run, so the first
    # file with the recorded weights is taken.
    problem = ''
    for file in files:
        try:
            load_tokenizer_weights(module, file)
        except (DownloadError, ValueError) as error:
            if given is not None:
                raise
            problem = f'the tokenizer cannot be loaded ({error})'
            continue
        problem = ''
        if wanted and wanted != weights_digest(module):
            problem = (
                f'{os.path.basename(file)} is not the tokenizer that this '
                'checkpoint was trained with'
            )
            continue
        break
    if problem:
        loaded.notes.append(f'{problem}; give the right file as tokenizer=...')
        return
    loaded.tokenizer = module


def _recorded_file(module: nn.Module) -> str | None:
    init = getattr(module, 'init_cfg', None)
    if isinstance(init, list) and len(init) == 1:
        init = init[0]
    file = init.get('checkpoint') if isinstance(init, dict) else None
    return str(file) if file else None


def _places(recorded: str, name: str) -> list[str]:
    """Where the tokenizer's file is: where it was, or near the checkpoint.

    It is near the checkpoint after the work dirs were moved or copied. A URL
    counts only if it is a published one, because the checkpoint that names
    it may come from anywhere.
    """
    if '://' in recorded:
        return [recorded] if recorded in TOKENIZER_URLS else []
    path = Path(recorded).expanduser()
    checkpoint = Path(name).expanduser().resolve()
    tails = [Path(*path.parts[-count:]) for count in (4, 3, 2)]
    near = [
        parent / tail
        for parent in list(checkpoint.parents)[:4]
        for tail in tails
    ]
    places = [path, *near, checkpoint.parent / path.name]
    found = [place.resolve() for place in places if place.is_file()]
    return [str(p) for p in dict.fromkeys(found) if p != checkpoint]


def _choose_decoder(loaded: LoadedModel, decoder: Any) -> None:
    """Find what draws tokens, or note that there is nothing."""
    if loaded.tokenizer is None:
        return
    found = loaded.tokenizer if decoder is None else decoder
    if not isinstance(found, nn.Module) and not hasattr(found, 'reconstruct'):
        found = MODELS.build(dict(type='mmcae.DALLEDecoder'))
        load_tokenizer_weights(found, decoder)
    if hasattr(found, 'reconstruct'):
        loaded.decoder = found
        return
    loaded.notes.append(
        f'{type(found).__name__} has no decoder, so predicted tokens cannot '
        "be drawn; give the weights of DALL-E's decoder as decoder=..."
    )
