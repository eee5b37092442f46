# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A discrete VAE that is trained on the user's images.

Source: arXiv 2102.12092 (DALL-E), section 2.1.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmcae.registry import MODELS

from ..layers.masking import PatchSplit
from .common import init_pretrained, resolve_grid, select_patches
from .dvae_layers import (
    batch_kl_to_uniform,
    code_statistics,
    geometric,
    kl_to_uniform,
    make_decoder,
    make_encoder,
    per_channel,
    psnr,
    stage_widths,
)


@MODELS.register_module()
class DVAE(BaseModel):
    """A tokenizer for the user's images, and a target generator of CAE.

    During training, codes are drawn by Gumbel-softmax at a temperature that
    falls over the run. Two KL terms keep the whole codebook in use: one for
    the batch as a whole, one for each patch. The weight of the latter rises
    from zero: with the full weight from the start the codebook can collapse
    to one code before the decoder uses it. Train it with
    ``mmcae.TemperatureHook``.

    Args:
        vocab_size: Number of codes.
        downsample: Side of the square of pixels that a token stands for, a
            power of two.
        in_channels: Channels of the images.
        hidden_channels: Width of each stage; each stage halves the
            resolution. Defaults to 24, 48, 64, 64, ...
        num_res_blocks: Residual blocks at the lowest resolution, in the
            encoder and in the decoder.
        overlap: Whether a token may depend on pixels beyond its patch. If
            False (and ``num_res_blocks=0``), a token depends on its own
            patch only; small CAEs learned better this way.
        he_init: Whether the encoder begins with larger weights, drawn as in
            arXiv 1502.01852. With PyTorch's default the first logits are
            smaller than the Gumbel noise, and on smooth images the codebook
            can collapse to one code. Recipes whose numbers are documented
            keep the default.
        kl_weight: Weight of the KL term of each patch.
        kl_warmup: Fraction of the run over which that weight rises from 0.
        usage_weight: Weight of the KL term of the batch, constant over the
            run.
        temperature_start: Temperature at the start.
        temperature_end: Temperature at the end.
        pixel_mean: Mean of pixels in [0, 1]. It is saved in checkpoints.
        pixel_std: Standard deviation of pixels, likewise.
        data_preprocessor: Must give images in [0, 1], as the default does.
        init_cfg: ``dict(type='Pretrained', checkpoint=path or URL)`` loads a
            training checkpoint; every tensor must match.
    """

    # Mean and std that map pixels (0 to 255) to [0, 1].
    pixel_norm = (0.0, 255.0)
    # Images of each batch on which the PSNR of hard tokens is computed.
    _NUM_MONITORED_IMAGES = 8

    def __init__(
        self,
        vocab_size: int = 8192,
        downsample: int = 8,
        in_channels: int = 3,
        hidden_channels: Sequence[int] | None = None,
        num_res_blocks: int = 0,
        overlap: bool = True,
        he_init: bool = False,
        kl_weight: float = 0.02,
        kl_warmup: float = 0.2,
        usage_weight: float = 0.02,
        temperature_start: float = 1.0,
        temperature_end: float = 0.2,
        pixel_mean: float | Sequence[float] = 0.5,
        pixel_std: float | Sequence[float] = 0.25,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = MODELS.build(
                data_preprocessor or _to_unit_range()
            )
        super().__init__(data_preprocessor, init_cfg)
        widths = stage_widths(downsample, hidden_channels)
        if temperature_start <= 0 or temperature_end <= 0:
            bad = (temperature_start, temperature_end)
            raise ValueError(f'temperatures must be positive, not {bad}.')
        self.vocab_size = vocab_size
        self.downsample = downsample
        self.in_channels = in_channels
        self.kl_weight = kl_weight
        self.kl_warmup = kl_warmup
        self.usage_weight = usage_weight
        self.temperatures = (temperature_start, temperature_end)
        self.weights_info: dict[str, str] | None = None
        self.encoder = make_encoder(
            in_channels, widths, num_res_blocks, overlap, he_init
        )
        self.to_logits = nn.Conv2d(widths[-1], vocab_size, 1)
        self.codebook = nn.Embedding(vocab_size, widths[-1])
        self.decoder = make_decoder(in_channels, widths, num_res_blocks)
        # Large initial logits, for any number of codes: small ones are lost
        # in the Gumbel noise, and the decoder learns to ignore them.
        nn.init.normal_(self.to_logits.weight, std=3 / widths[-1] ** 0.5)
        nn.init.zeros_(self.to_logits.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.codebook.weight, std=0.1)
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer(
            'pixel_mean', per_channel(pixel_mean, in_channels)
        )
        self.register_buffer('pixel_std', per_channel(pixel_std, in_channels))
        self.set_progress(0.0)

    def init_weights(self) -> None:
        """Load the configured weights; raise unless all are found."""
        if not init_pretrained(self):
            super().init_weights()

    def set_progress(self, fraction: float) -> None:
        """Set temperature and KL weight for the progress of the run.

        Args:
            fraction: Fraction of the run that is done, in [0, 1].
        """
        self.temperature = geometric(*self.temperatures, fraction)
        ramp = fraction / self.kl_warmup if self.kl_warmup > 0 else 1.0
        self.current_kl_weight = self.kl_weight * min(1.0, ramp)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Run in one of mmengine's modes.

        Args:
            inputs: Images in [0, 1], ``(B, C, H, W)``.
            data_samples: One for each image; only ``'predict'`` uses them.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            Logits ``(B, K, h, w)``, the losses, or data samples with tokens.
        """
        if mode == 'tensor':
            return self.to_logits(self._features(inputs))
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(
            f"mode={mode!r} is none of 'tensor', 'loss' and 'predict'."
        )

    def loss(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses, and numbers that show how the run goes.

        Args:
            inputs: Images in [0, 1], ``(B, C, H, W)``.
            data_samples: Not used.

        Returns:
            ``loss_recon``, ``loss_kl`` and ``loss_usage``, whose sum is
            minimized; ``psnr`` (dB) with hard tokens, because soft ones give
            a value that is too high; ``codes_used`` and ``perplexity`` of
            the batch's tokens; ``temperature``.
        """
        logits = self.to_logits(self._features(inputs)).float()
        with torch.autocast(logits.device.type, enabled=False):
            soft = F.gumbel_softmax(logits, tau=self.temperature, dim=1)
            kl = kl_to_uniform(logits)
            usage = batch_kl_to_uniform(logits)
        mixed = torch.einsum('bkhw,kc->bchw', soft, self.codebook.weight)
        recon = self.decoder(mixed).float()
        with torch.no_grad():
            tokens = logits.argmax(1)
            few = tokens[: self._NUM_MONITORED_IMAGES]
            drawn = self.reconstruct(few.flatten(1), few.shape[1:])
            used, perplexity = code_statistics(tokens, self.vocab_size)
        return {
            'loss_recon': F.mse_loss(recon, self._standardize(inputs)),
            'loss_kl': self.current_kl_weight * kl,
            'loss_usage': self.usage_weight * usage,
            'psnr': psnr(drawn, inputs[: self._NUM_MONITORED_IMAGES]),
            'codes_used': used,
            'perplexity': perplexity,
            'temperature': logits.new_tensor(self.temperature),
        }

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Tokenize and reconstruct, for evaluation.

        Args:
            inputs: Images in [0, 1], ``(B, C, H, W)``.
            data_samples: One for each image, or None to make new ones.

        Returns:
            Data samples with ``tokens`` ``(L,)`` and ``squared_error``, the
            mean squared error of the reconstruction from these tokens.
        """
        tokens = self.tokenize(inputs)
        grid = tuple(n // self.downsample for n in inputs.shape[-2:])
        errors = (self.reconstruct(tokens, grid) - inputs.float()).square()
        samples = data_samples or [DataSample() for _ in inputs]
        for i, sample in enumerate(samples):
            sample.set_field(tokens[i], 'tokens')
            sample.set_field(errors[i].mean(), 'squared_error')
        return samples

    @torch.no_grad()
    def tokenize(
        self, images: Tensor, mask: Tensor | PatchSplit | None = None
    ) -> Tensor:
        """Turn images into visual tokens: the likeliest codes, no noise.

        Args:
            images: Images in [0, 1], ``(B, C, H, W)``.
            mask: ``True`` where a patch is masked, bool ``(B, L)``, or what
                `split_patches` made of that.

        Returns:
            Tokens, row-major, int64, ``(B, L)``; with a mask those of the
            masked patches, image by image, ``(N,)``.

        Raises:
            ValueError: If the images do not fit the network, or the mask
                does not fit the images.
        """
        with torch.autocast(images.device.type, enabled=False):
            rows = select_patches(self._features(images), mask)
            weight = self.to_logits.weight.flatten(1)
            tokens = F.linear(rows, weight, self.to_logits.bias).argmax(-1)
        return tokens if mask is not None else tokens.view(len(images), -1)

    @torch.no_grad()
    def reconstruct(
        self, tokens: Tensor, grid: Sequence[int] | None = None
    ) -> Tensor:
        """Decode tokens to images.

        Args:
            tokens: Row-major, int64, ``(B, L)``.
            grid: Height and width of the token map. None means a square.

        Returns:
            Images in [0, 1], ``(B, C, H, W)``.

        Raises:
            ValueError: If the tokens do not fill the grid.
        """
        height, width = resolve_grid(tokens.shape[1], grid)
        with torch.autocast(tokens.device.type, enabled=False):
            codes = self.codebook(tokens).transpose(1, 2)
            images = self.decoder(codes.unflatten(2, (height, width)))
            return (images * self.pixel_std + self.pixel_mean).clamp(0, 1)

    def _standardize(self, images: Tensor) -> Tensor:
        return (images.float() - self.pixel_mean) / self.pixel_std

    def _features(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            raise ValueError(
                'DVAE takes one view of each image, a tensor (B, '
                f'{self.in_channels}, H, W), not a {type(images).__name__}.'
            )
        if (
            images.ndim != 4
            or images.shape[1] != self.in_channels
            or any(n % self.downsample or n == 0 for n in images.shape[-2:])
        ):
            raise ValueError(
                f'images of shape {tuple(images.shape)}: DVAE takes (B, '
                f'{self.in_channels}, H, W) with sides that are multiples '
                f'of {self.downsample}.'
            )
        return self.encoder(self._standardize(images))


def _to_unit_range() -> dict:
    # One number for any number of channels.
    kind = 'mmpretrain.SelfSupDataPreprocessor'
    return dict(type=kind, mean=[0.0], std=[255.0])
