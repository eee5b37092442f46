# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Rebuild a trained model from its checkpoint alone.

The config inside a checkpoint is Python code of an unknown author. It is
parsed and never executed, and no class that it names is built: the encoder
and the heads come from the shapes of the tensors, and the config adds only
numbers and texts that shapes cannot show, such as the number of heads.
"""

import copy
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from mmengine.config import Config
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.models.necks import ClsBatchNormNeck
from torch import Tensor, nn

from mmcae.checkpoint.config_literals import config_literals
from mmcae.checkpoint.digest import weights_digest
from mmcae.checkpoint.encoder_args import encoder_args
from mmcae.checkpoint.file_header import file_header, kind_of
from mmcae.checkpoint.normalization import recorded_normalization
from mmcae.checkpoint.packaged import is_packaged
from mmcae.checkpoint.reading import read_with_digest
from mmcae.checkpoint.weights import meta_of
from mmcae.config.search_path import find_config
from mmcae.export.encoder_tensors import model_tensors
from mmcae.export.sweep import HEADS, accuracies, choose, take
from mmcae.models import AttentiveProbeHead, CAEViT
from mmcae.version import __version__

#: Arguments of the encoder that may come from a config. The tensors
#: determine all others.
CONFIG_ARGS = (
    'arch',
    'img_size',
    'out_indices',
    'final_norm',
    'interpolate_mode',
    'window_size',
    'global_indices',
)
# Where OpenMMLab's necks and heads use another epsilon, configs name it.
_BN_EPS = 1e-6
_TIMESTAMP = re.compile(r'_\d{8}_\d{6}$')


class Classifier(nn.Module):
    """A neck and a head on the features of an encoder.

    Args:
        neck: A neck of mmpretrain, or None.
        head: A head of mmpretrain or mmcae.
    """

    def __init__(self, neck: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.neck = neck
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits ``(B, num_classes)`` from the encoder's output."""
        inputs: Any = (features,)
        return self.head(self.neck(inputs) if self.neck else inputs)


@dataclass
class Source:
    """A trained model and what is known about it.

    Attributes:
        encoder: The encoder in evaluation mode, on the CPU.
        classifier: Neck and head of a classifier, or None.
        tensors: All tensors under mmcae's names.
        kind: The model in words, such as ``'linear probe'``.
        header: Where the weights come from; see `file_header`.
        normalization: ``mean`` and ``std`` of RGB values in 0..1, or None if
            they are not recorded.
        class_names: Names of the classes; empty if they are not recorded.
        recipe: Name of the config that trained the model, or None.
        meta: The metadata of the checkpoint.
    """

    encoder: CAEViT
    classifier: Classifier | None
    tensors: dict[str, Tensor]
    kind: str
    header: dict[str, Any]
    normalization: dict[str, list[float]] | None = None
    class_names: list[str] = field(default_factory=list)
    recipe: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_heads(self) -> int:
        """Number of attention heads of the encoder."""
        return self.encoder.layers[0].attn.num_heads


def read_source(
    path: str | os.PathLike, num_heads: int | None = None
) -> Source:
    """Read a checkpoint and rebuild its model.

    Args:
        path: A checkpoint of pretraining, of a classifier, or of a model
            with a CAE encoder. Its tensors have the names of mmcae, of
            OpenMMLab or of the authors.
        num_heads: Number of attention heads, where neither the tensors nor
            the file say it.

    Returns:
        The model and what the file says about it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no CAE encoder, or the model cannot be rebuilt.
    """
    checkpoint, digest = read_with_digest(path)
    tensors = model_tensors(checkpoint)
    if any(key.startswith(HEADS) for key in tensors):
        tensors = take(tensors, choose(accuracies(tensors), None))
    meta = meta_of(checkpoint)
    settings = _config_model(meta) or _packaged_model(path)
    args = _encoder_arguments(tensors, settings, meta, num_heads)
    encoder = _build_encoder(args, tensors)
    heads = encoder.layers[0].attn.num_heads
    return Source(
        encoder=encoder,
        classifier=_build_classifier(tensors, settings, heads),
        tensors=tensors,
        kind=kind_of(tensors),
        header=file_header(tensors, path, digest, checkpoint, num_heads=heads),
        normalization=recorded_normalization(checkpoint),
        class_names=_class_names(meta),
        recipe=_recipe(meta),
        meta=meta,
    )


def source_of_model(model: nn.Module) -> Source:
    """Take a model that is in memory.

    Args:
        model: `CAE`, a classifier, segmentor or detector with a `CAEViT`, or
            a `CAEViT`. It is copied, so it stays as it is.

    Returns:
        The copied model.

    Raises:
        ValueError: If its encoder is not a `CAEViT`.
    """
    encoder: Any = getattr(model, 'backbone', model)
    if not isinstance(encoder, CAEViT):
        raise ValueError(
            f'{type(model).__name__} has no mmcae.CAEViT as its backbone; '
            'give a model of mmcae or the path of a checkpoint'
        )
    tensors = {
        key: value.detach().cpu()
        for key, value in model.state_dict().items()
        if not key.startswith(('teacher.', 'data_preprocessor.'))
    }
    if encoder is model:
        tensors = {f'backbone.{k}': v for k, v in tensors.items()}
    head = getattr(model, 'head', None)
    classifier = None
    if hasattr(head, 'num_classes') and callable(head):
        parts = Classifier(getattr(model, 'neck', None), head)
        classifier = copy.deepcopy(parts).cpu().eval()
    meta = getattr(model, 'dataset_meta', None) or {}
    own = copy.deepcopy(encoder)
    own.cpu().eval()
    return Source(
        encoder=own,
        classifier=classifier,
        tensors=tensors,
        kind=kind_of(tensors),
        header=dict(
            format='pt',
            mmcae_version=__version__,
            model=kind_of(tensors),
            source=f'{type(model).__name__} in memory',
            source_weights_sha256=weights_digest(model),
        ),
        normalization=_model_normalization(model),
        class_names=_class_names({'dataset_meta': meta}),
    )


def _config_model(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The variable ``model`` of the config that a checkpoint stores."""
    model = config_literals(meta.get('cfg')).get('model')
    return model if isinstance(model, dict) else {}


def _packaged_model(path: str | os.PathLike) -> dict[str, Any]:
    """The same for weights of the package, whose config is in it, too."""
    if not is_packaged(path):
        return {}
    config = Config.fromfile(find_config(PurePath(path).name))
    return config.model.to_dict()


def _part(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = settings.get(name)
    return part if isinstance(part, dict) else {}


def _encoder_arguments(
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    meta: Mapping[str, Any],
    num_heads: int | None,
) -> dict[str, Any]:
    """Arguments of `CAEViT`: from the tensors, completed by the file."""
    known = {
        key: value
        for key, value in _part(settings, 'backbone').items()
        if key in CONFIG_ARGS and value is not None
    }
    written = meta.get('encoder_args')
    if isinstance(written, str):
        written = json.loads(written)
    if isinstance(written, Mapping):
        known |= {k: v for k, v in written.items() if k in CONFIG_ARGS}
    arch = known.get('arch', meta.get('arch'))
    if isinstance(arch, str):
        arch = CAEViT.arch_zoo.get(arch.lower())
    if isinstance(arch, Mapping) and isinstance(arch.get('num_heads'), int):
        num_heads = num_heads or arch['num_heads']
    args = encoder_args(tensors, num_heads)
    known.pop('arch', None)
    args.update(known)
    shared = args.pop('use_shared_rel_pos_bias')
    args['use_rel_pos_bias'] = args['use_rel_pos_bias'] or shared
    if not args.pop('with_cls_token'):
        raise ValueError('the encoder has no class token (backbone.cls_token)')
    return args


def _build_encoder(
    args: dict[str, Any], tensors: Mapping[str, Tensor]
) -> CAEViT:
    has_final = 'backbone.ln1.weight' in tensors
    pooled = 'backbone.ln2.weight' in tensors and not has_final
    final_norm = args.pop('final_norm', False)
    encoder = CAEViT(
        **args,
        final_norm=(final_norm or True) if has_final else False,
        out_type='avg_featmap' if pooled else 'raw',
    )
    own = {
        key.removeprefix('backbone.'): value
        for key, value in tensors.items()
        if key.startswith('backbone.')
    }
    if not pooled:
        # OpenMMLab's pretraining files have a norm that was never trained.
        own = {k: v for k, v in own.items() if not k.startswith('ln2.')}
    found = encoder.load_state_dict(own, strict=False)
    missing = [k for k in found.missing_keys if not k.endswith('_index')]
    if missing or found.unexpected_keys:
        raise ValueError(
            'the encoder of this checkpoint cannot be rebuilt: '
            f'{len(missing)} tensors are missing ({", ".join(missing[:3])}), '
            f'{len(found.unexpected_keys)} are unknown '
            f'({", ".join(found.unexpected_keys[:3])})'
        )
    return encoder.eval()


def _build_classifier(
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    num_heads: int,
) -> Classifier | None:
    weight = tensors.get('head.fc.weight')
    if weight is None:
        return None
    num_classes, dims = weight.shape
    neck, head = None, LinearClsHead(num_classes, dims)
    if 'head.query_token' in tensors:
        config = _part(settings, 'head')
        head = AttentiveProbeHead(
            num_classes,
            dims,
            config.get('num_heads') or num_heads,
            bn_eps=config.get('bn_eps') or 1e-5,
        )
    if 'neck.bn.running_mean' in tensors:
        eps = _part(settings, 'neck').get('eps') or _BN_EPS
        neck = ClsBatchNormNeck(dims, eps=eps)
    classifier = Classifier(neck, head)
    own = {
        key: value
        for key, value in tensors.items()
        if key.startswith(('neck.', 'head.'))
    }
    classifier.load_state_dict(own)
    return classifier.eval()


def _class_names(meta: Mapping[str, Any]) -> list[str]:
    for key in ('dataset_meta', 'CLASSES'):
        known = meta.get(key)
        if isinstance(known, Mapping):
            known = known.get('classes') or known.get('CLASSES')
        if isinstance(known, list | tuple) and known:
            return [str(name) for name in known]
    return []


def _recipe(meta: Mapping[str, Any]) -> str | None:
    """The experiment's name without the time at which it started."""
    name = meta.get('recipe') or meta.get('experiment_name')
    return _TIMESTAMP.sub('', name) if isinstance(name, str) else None


def _model_normalization(
    model: nn.Module,
) -> dict[str, list[float]] | None:
    parts = getattr(model, 'data_preprocessor', None)
    found = {}
    for name in ('mean', 'std'):
        values = getattr(parts, name, None)
        if not isinstance(values, Tensor) or values.numel() != 3:
            return None
        found[name] = [round(v / 255, 6) for v in values.flatten().tolist()]
    return found
