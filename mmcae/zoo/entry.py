# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Entries of the model zoo: with weights of the package, or with none."""

from mmengine.config import Config
from modelindex.models.Model import Model

from mmcae.checkpoint.packaged import packaged_weights


class PackagedEntry(Model):
    """An entry whose weights travel in the package.

    mmpretrain's ``get_model`` asks for the weights only if it is going to
    load them, and before it builds the model. At that moment the entry's
    config (each look-up has its own) gets the tokenizer with which the
    packaged CAE was trained, in place of the one in ``work_dirs``.
    """

    @property
    def weights(self) -> str:
        """The address of the weights, ``mmcae://NAME``."""
        record = packaged_weights().get(self.name, {})
        tokenizer = record.get('tokenizer')
        if tokenizer and isinstance(self.config, Config):
            target_generator = self.config.model.target_generator
            target_generator.init_cfg.checkpoint = tokenizer
        return self.data['Weights']


class EntryWithoutWeights(Model):
    """An entry that raises an error when its weights are asked for.

    Otherwise ``get_model(name, pretrained=True)`` would return a model with
    random weights, and ``inference_model(name, image)`` would classify by
    chance.

    Attributes:
        elsewhere: Link to weights of mmpretrain's model of the same name.
    """

    elsewhere: str | None = None

    @property
    def weights(self) -> str:
        """Raise ``FileNotFoundError``, and say what to give instead."""
        hint = ''
        if self.elsewhere:
            hint = (
                '; OpenMMLab trained a model of this name by another recipe, '
                f'and its weights fit: {self.elsewhere}'
            )
        raise FileNotFoundError(
            f"mmcae publishes no weights of '{self.name}': give the path of "
            "a checkpoint, pretrained='PATH' (mmcae's .pth or .safetensors, "
            f"the authors' .pth or OpenMMLab's .pth){hint}"
        )


def forbid_weights(entry: Model, elsewhere: str | None) -> None:
    """Turn an entry into an `EntryWithoutWeights`.

    Args:
        entry: Changed in place.
        elsewhere: Link to weights of mmpretrain's model of the same name.
    """
    entry.__class__ = EntryWithoutWeights
    entry.elsewhere = elsewhere


def use_packaged_weights(entry: Model) -> None:
    """Turn an entry whose weights travel in the package into such an entry.

    Args:
        entry: Changed in place.
    """
    entry.__class__ = PackagedEntry
