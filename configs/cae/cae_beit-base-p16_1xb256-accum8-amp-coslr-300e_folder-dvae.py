# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
r"""CAE-base on any folder of images, with a tokenizer trained on that folder.

    python tools/train.py \
        configs/tokenizer/dvae_f8-k8192_8xb64-50k_folder-112px.py \
        --cfg-options data_root=PATH
    python tools/train.py CONFIG --cfg-options data_root=PATH
"""

_base_ = './cae_beit-base-p16_1xb256-accum8-amp-coslr-300e_folder.py'

# These sizes are those of the tokenizer's config: weights of another shape are
# refused.
model = dict(
    target_generator=dict(
        _delete_=True,
        type='mmcae.DVAE',
        vocab_size=8192,
        downsample=8,
        hidden_channels=(64, 128, 256),
        num_res_blocks=2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/dvae_f8-k8192_8xb64-50k_folder-112px/'
            'iter_50000.pth',
        ),
    )
)

# This tokenizer takes pixels in [0, 1].
data_preprocessor = dict(second_mean=[0.0] * 3, second_std=[255.0] * 3)
