# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Makes sure that a resumed run has the same tokenizer as before."""

from typing import Any

from mmengine.hooks import Hook

from mmcae.checkpoint.digest import weights_digest
from mmcae.checkpoint.printable import printable
from mmcae.checkpoint.unwrap import unwrap
from mmcae.checkpoint.weights import meta_of
from mmcae.registry import HOOKS


@HOOKS.register_module()
class TokenizerRecordHook(Hook):
    """Record in each checkpoint which tokenizer computed the targets.

    The tokenizer itself is not stored in training checkpoints.
    ``checkpoint['meta']['tokenizer']`` gets its ``type``, ``vocab_size``,
    ``file``, ``sha256`` (the digest of that file) and ``weights`` (a digest
    of the tensors, the same for a ``.pth`` and a ``.safetensors`` file). The
    hook does nothing if the model has no ``target_generator``.

    Raises:
        RuntimeError: If a run is resumed with a tokenizer of other weights,
            because all targets would change in the middle of the run.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._record: dict | None = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Write the record."""
        record = self._describe(runner)
        if record is not None:
            checkpoint.setdefault('meta', {})['tokenizer'] = record

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Compare the record with the tokenizer of this run."""
        then = meta_of(checkpoint).get('tokenizer')
        now = self._describe(runner)
        if not then or not isinstance(then, dict) or now is None:
            return
        key = 'weights' if then.get('weights') else 'sha256'
        if then.get(key) == now[key]:
            return
        difference = (
            f'the checkpoint was trained on the tokens of {_name(then)}, '
            f'this run has {_name(now)}'
        )
        # Only a resumed run must have the same targets as before.
        if getattr(runner, '_resume', False):
            raise RuntimeError(
                f'Cannot resume with another tokenizer: {difference}. Set '
                'model.target_generator.init_cfg.checkpoint to the previous '
                'weights, or start a new run with load_from.'
            )
        runner.logger.info(f'Another tokenizer than before: {difference}.')

    def _describe(self, runner: Any) -> dict | None:
        model = unwrap(runner.model)
        tokenizer = getattr(model, 'target_generator', None)
        if tokenizer is None:
            return None
        if self._record is None:
            info = getattr(tokenizer, 'weights_info', None) or {}
            self._record = {
                'type': type(tokenizer).__name__,
                'vocab_size': getattr(tokenizer, 'vocab_size', None),
                'file': info.get('file'),
                'sha256': info.get('sha256'),
                'weights': weights_digest(tokenizer),
            }
        return dict(self._record)


def _name(record: dict) -> str:
    digest = record.get('sha256') or record.get('weights') or '?'
    file = record.get('file') or 'random weights'
    return (
        f'{printable(record.get("type"))} with '
        f'{printable(record.get("vocab_size"))} codes from {printable(file)} '
        f'(SHA-256 {printable(str(digest)[:12])}...)'
    )
