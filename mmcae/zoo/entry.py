# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""An entry of the model zoo that has no published weights."""

from modelindex.models.Model import Model


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
