# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The sizes of model that `mmcae pretrain` chooses from."""

from dataclasses import dataclass

GB = 10**9


@dataclass(frozen=True)
class Size:
    """A size of model.

    Attributes:
        tokenizer_config: The packaged config that the tokenizer's is made of.
        cae_config: The same for CAE.
        finetune_config: The same for a classifier of labeled images.
        model: In words.
        width: Of the encoder, the regressor and the decoder.
        num_heads: Of them.
        image_size: Side in pixels of the images.
        vocab_size: Number of codes of a tokenizer trained on the folder.
        reference_batch: The batch that ``reference_lr`` is for.
        reference_lr: The peak of the learning rate.
        steps: Steps of CAE, and of its tokenizer, if no time is given.
        max_epochs: More repetitions of the same images are not planned.
        fixed_memory: Bytes for weights, gradients and optimizer (estimate).
        image_memory: Bytes for an image of a batch (estimate).
        checkpoint: Bytes of CAE's checkpoint with its optimizer (estimate).
        batch: The largest batch of one step.
    """

    tokenizer_config: str
    cae_config: str
    finetune_config: str
    model: str
    width: int
    num_heads: int
    image_size: int
    vocab_size: int
    reference_batch: int
    reference_lr: float
    steps: tuple[int, int]
    max_epochs: int
    fixed_memory: int
    image_memory: int
    checkpoint: int
    batch: int


_TINY = (
    'dvae_f8-k128_1xb32-60e_folder-tiny',
    'cae_tiny-p8_1xb32-coslr-150e_folder-tiny',
    'tiny-p8_cae-pre_1xb64-coslr-50e_class-folders',
)
_CARD = (
    'dvae_f8-k1024_1xb64-200e_folder-small',
    'cae_beit-small-p16_1xb128-accum2-amp-coslr-300e_folder-small',
    'beit-small-p16_cae-pre_1xb64-amp-coslr-100e_class-folders',
)
#: Memory of base: docs/performance.md; small and large in proportion.
SIZES = {
    'tiny': Size(
        *_TINY,
        model='four blocks of width 96',
        width=96,
        num_heads=3,
        image_size=48,
        vocab_size=128,
        reference_batch=32,
        reference_lr=1.5e-3,
        steps=(1_350, 540),
        max_epochs=1_600,
        fixed_memory=100_000_000,
        image_memory=2_000_000,
        checkpoint=12_000_000,
        batch=32,
    ),
    'small': Size(
        *_CARD,
        model='ViT-S, 12 blocks of width 384',
        width=384,
        num_heads=12,
        image_size=224,
        vocab_size=1024,
        reference_batch=2048,
        reference_lr=1.5e-3,
        steps=(20_000, 8_000),
        max_epochs=1_600,
        fixed_memory=1_000_000_000,
        image_memory=39_000_000,
        checkpoint=470_000_000,
        batch=128,
    ),
    'base': Size(
        *_CARD,
        model='ViT-B, 12 blocks of width 768',
        width=768,
        num_heads=12,
        image_size=224,
        vocab_size=4096,
        reference_batch=2048,
        reference_lr=1.5e-3,
        steps=(60_000, 15_000),
        max_epochs=1_600,
        fixed_memory=2_800_000_000,
        image_memory=78_000_000,
        checkpoint=1_800_000_000,
        batch=256,
    ),
    'large': Size(
        *_CARD,
        model='ViT-L, 24 blocks of width 1024',
        width=1024,
        num_heads=16,
        image_size=224,
        vocab_size=8192,
        reference_batch=2048,
        reference_lr=1.5e-3,
        steps=(120_000, 30_000),
        max_epochs=1_600,
        fixed_memory=7_500_000_000,
        image_memory=210_000_000,
        checkpoint=5_000_000_000,
        batch=256,
    ),
}
