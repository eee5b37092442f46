# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""A discrete VAE trained on one's own images (cf. arXiv 2102.12092, 2.1)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmcae.models.layers.masking import PatchSplit
from mmcae.registry import MODELS

from .common import init_pretrained, resolve_grid, select_places
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
    """Tokenizer of the user's own images, and target generator of CAE.

    Words are drawn by Gumbel-softmax at a temperature that falls over the
    run. Two terms keep the vocabulary in use: one for a batch as a whole, one
    for each position. The latter begins at zero: in full from the start it
    can win before the decoder listens, and one word then stands for all.
    Train it with ``mmcae.TemperatureHook``.

    Args:
        vocab_size (int): Number of visual words. Defaults to 8192.
        downsample (int): Pixels a token, a power of two. Defaults to 8.
        in_channels (int): Channels of the images. Defaults to 3.
        hidden_channels (Sequence[int], optional): Widths of the stages, one
            for each halving. Defaults to 24, 48, 64, 64, ...
        num_res_blocks (int): Residual blocks at the lowest resolution, in
            the encoder and in the decoder. Defaults to 0.
        overlap (bool): Whether a token may depend on pixels beyond its
            patch. Without (and without residual blocks) it tells of its
            patch alone; small CAEs learnt more so. Defaults to True.
        kl_weight (float): Weight of the KL term. Defaults to 0.02.
        kl_warmup (float): Part of the run over which that weight rises
            from 0. Defaults to 0.2.
        usage_weight (float): Weight of the same divergence for the words of
            the batch as a whole, from the start. Defaults to 0.02.
        temperature_start (float): Temperature at the start. Defaults to 1.
        temperature_end (float): Temperature at the end. Defaults to 0.2.
        pixel_mean (float | Sequence[float]): Mean of pixels in [0, 1]; saved.
        pixel_std (float | Sequence[float]): Their standard deviation.
        data_preprocessor (dict, optional): Must give images in [0, 1], as
            the default does.
        init_cfg (dict, optional): ``dict(type='Pretrained',
            checkpoint=path or URL)`` loads a training checkpoint strictly.
    """

    # Pixels (0 to 255) are wanted as (x - mean) / std, in [0, 1].
    pixel_norm = (0.0, 255.0)
    # Images on which the PSNR of hard tokens is logged during training.
    _MONITORED = 8

    def __init__(
        self,
        vocab_size: int = 8192,
        downsample: int = 8,
        in_channels: int = 3,
        hidden_channels: Sequence[int] | None = None,
        num_res_blocks: int = 0,
        overlap: bool = True,
        kl_weight: float = 0.02,
        kl_warmup: float = 0.2,
        usage_weight: float = 0.02,
        temperature_start: float = 1.0,
        temperature_end: float = 0.2,
        pixel_mean: float | Sequence[float] = 0.5,
        pixel_std: float | Sequence[float] = 0.25,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ):
        super().__init__(
            MODELS.build(data_preprocessor or _to_unit_range(in_channels))
            if not isinstance(data_preprocessor, nn.Module)
            else data_preprocessor,
            init_cfg,
        )
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
            in_channels, widths, num_res_blocks, overlap
        )
        self.to_logits = nn.Conv2d(widths[-1], vocab_size, 1)
        self.codebook = nn.Embedding(vocab_size, widths[-1])
        self.decoder = make_decoder(in_channels, widths, num_res_blocks)
        # Confident from the start, for any vocabulary: noise drowns timid
        # logits, and the decoder then learns to ignore them.
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
        """Load the configured weights: all of them, or raise."""
        if not init_pretrained(self):
            super().init_weights()

    def set_progress(self, fraction: float) -> None:
        """Set temperature and KL weight for a point of the run.

        Args:
            fraction (float): Done part of the run, in [0, 1].
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
            inputs (Tensor): Images (B, C, H, W) in [0, 1].
            data_samples (list[DataSample], optional): One an image.
            mode (str): ``'tensor'``: logits (B, K, h, w); ``'loss'``: the
                losses; ``'predict'``: data samples with tokens.

        Returns:
            Tensor | dict | list[DataSample]: As the mode says.
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
        """Compute the losses, and what tells a healthy run.

        Args:
            inputs (Tensor): Images (B, C, H, W) in [0, 1].
            data_samples (list[DataSample], optional): Not used.

        Returns:
            dict[str, Tensor]: ``loss_recon``, ``loss_kl`` and
            ``loss_usage``, whose sum is minimised; ``psnr`` with hard tokens
            (soft ones flatter), ``codes_used`` and ``perplexity`` of the
            batch's tokens, ``temperature``.
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
            few = tokens[: self._MONITORED]
            drawn = self.reconstruct(few.flatten(1), few.shape[1:])
            used, perplexity = code_statistics(tokens, self.vocab_size)
        return {
            'loss_recon': F.mse_loss(recon, self._standardise(inputs)),
            'loss_kl': self.current_kl_weight * kl,
            'loss_usage': self.usage_weight * usage,
            'psnr': psnr(drawn, inputs[: self._MONITORED]),
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
            inputs (Tensor): Images (B, C, H, W) in [0, 1].
            data_samples (list[DataSample], optional): One an image.

        Returns:
            list[DataSample]: With ``tokens`` (L,) and ``squared_error``, the
            mean over the pixels of the reconstruction from them.
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
        """Turn images into visual tokens: the likeliest words, no noise.

        Args:
            images (Tensor): (B, C, H, W) in [0, 1].
            mask (Tensor | PatchSplit, optional): Boolean (B, L), True =
                masked; or what ``split_patches`` made of that.

        Returns:
            Tensor: Tokens (B, L) int64 in row-major order; with a mask
            (N,): those of the masked places, image by image.

        Raises:
            ValueError: If shapes do not fit.
        """
        with torch.autocast(images.device.type, enabled=False):
            rows = select_places(self._features(images), mask)
            weight = self.to_logits.weight.flatten(1)
            tokens = F.linear(rows, weight, self.to_logits.bias).argmax(-1)
        return tokens if mask is not None else tokens.view(len(images), -1)

    @torch.no_grad()
    def reconstruct(
        self, tokens: Tensor, grid: Sequence[int] | None = None
    ) -> Tensor:
        """Draw the images that the tokens stand for.

        Args:
            tokens (Tensor): (B, L) int64 in row-major order.
            grid (Sequence[int], optional): Height and width of the token
                map; square if None.

        Returns:
            Tensor: Images (B, C, H, W) in [0, 1].

        Raises:
            ValueError: If the tokens do not fill the grid.
        """
        height, width = resolve_grid(tokens.shape[1], grid)
        with torch.autocast(tokens.device.type, enabled=False):
            words = self.codebook(tokens).transpose(1, 2)
            images = self.decoder(words.unflatten(2, (height, width)))
            return (images * self.pixel_std + self.pixel_mean).clamp(0, 1)

    def _standardise(self, images: Tensor) -> Tensor:
        return (images.float() - self.pixel_mean) / self.pixel_std

    def _features(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor) or images.ndim != 4:
            raise ValueError(
                'DVAE takes one view of each image, a tensor (B, '
                f'{self.in_channels}, H, W), not '
                f'{getattr(images, "shape", type(images).__name__)}.'
            )
        sides = images.shape[-2:]
        if images.shape[1] != self.in_channels or any(
            n % self.downsample or n == 0 for n in sides
        ):
            raise ValueError(
                f'images of shape {tuple(images.shape)}: DVAE needs '
                f'{self.in_channels} channels and sides that are multiples '
                f'of {self.downsample}.'
            )
        return self.encoder(self._standardise(images))


def _to_unit_range(channels: int) -> dict:
    kind = 'mmpretrain.SelfSupDataPreprocessor'
    return dict(type=kind, mean=[0.0] * channels, std=[255.0] * channels)
